// Assets as text, and the contract under which the network knows each of them.
import { createHash } from 'node:crypto';

import { StrKey, xdr } from '@stellar/stellar-sdk/base';

import { NATIVE } from '../../core/asset.ts';
import { accountId, contractId } from './strkeys.ts';
import type { AssetWire } from './wire.ts';

/** `native` or CODE:ISSUER. */
export function assetText(asset: AssetWire): string {
  if (asset.type === 0) return NATIVE;
  const { assetCode, issuer } = asset.type === 1 ? asset.alphaNum4 : asset.alphaNum12;
  let length = assetCode.length;
  while (length > 0 && assetCode[length - 1] === 0) length -= 1;
  const code = Buffer.from(assetCode.buffer, assetCode.byteOffset, length).toString('latin1');
  return `${code}:${accountId(issuer.ed25519)}`;
}

/** The issuer of CODE:ISSUER; undefined for `native` and for contract tokens. */
export function issuerOf(asset: string): string | undefined {
  const colon = asset.indexOf(':');
  return colon < 0 ? undefined : asset.slice(colon + 1);
}

/** From the text of an asset to its Stellar Asset Contract, on one network. */
export interface AssetContracts {
  /** C... of a classic asset, whether or not anybody has deployed it. */
  contractOf(asset: AssetWire): string;
  /** The classic asset's text where SEP-11 text (`native`, CODE:ISSUER) names this contract's own asset, else undefined. */
  assetOf(contract: string, sep11: string): string | undefined;
}

/** Bounds both memories; each entry is under 200 bytes. */
const maxRememberedAssets = 20_000;

export function assetContracts(networkPassphrase: string): AssetContracts {
  const networkId = createHash('sha256').update(networkPassphrase).digest();
  const contractByAsset = new Map<string, string>();
  const parsed = new Map<string, AssetWire | undefined>();

  const contractOf = (asset: AssetWire): string => {
    const text = assetText(asset);
    let contract = contractByAsset.get(text);
    if (contract === undefined) {
      if (contractByAsset.size >= maxRememberedAssets) contractByAsset.clear();
      contract = contractId(contractHash(networkId, asset));
      contractByAsset.set(text, contract);
    }
    return contract;
  };

  const assetOf = (contract: string, sep11: string): string | undefined => {
    if (!parsed.has(sep11)) {
      if (parsed.size >= maxRememberedAssets) parsed.clear();
      parsed.set(sep11, parseSep11(sep11));
    }
    const asset = parsed.get(sep11);
    return asset !== undefined && contractOf(asset) === contract ? assetText(asset) : undefined;
  };

  return { contractOf, assetOf };
}

/** The id of a Stellar Asset Contract: the hash of the network and the asset, with no deployer in it (CAP-46-6). */
function contractHash(networkId: Buffer, asset: AssetWire): Buffer {
  const preimage = Buffer.concat([CONTRACT_ID_ENVELOPE, networkId, FROM_ASSET, xdr.Asset.schema.encode(asset)]);
  return createHash('sha256').update(preimage).digest();
}

/** XDR of ENVELOPE_TYPE_CONTRACT_ID (8) and of CONTRACT_ID_PREIMAGE_FROM_ASSET (1). */
const CONTRACT_ID_ENVELOPE = Buffer.from([0, 0, 0, 8]);
const FROM_ASSET = Buffer.from([0, 0, 0, 1]);

function parseSep11(text: string): AssetWire | undefined {
  if (text === NATIVE) return { type: 0 };
  const match = /^([A-Za-z0-9]{1,12}):(G[A-Z2-7]{55})$/.exec(text);
  if (!match) return undefined;
  try {
    const issuer = { type: 0 as const, ed25519: StrKey.decodeEd25519PublicKey(match[2]!) };
    const code = Buffer.from(match[1]!, 'latin1');
    const short = code.length <= 4;
    const assetCode = Buffer.alloc(short ? 4 : 12);
    code.copy(assetCode);
    return short ? { type: 1, alphaNum4: { assetCode, issuer } } : { type: 2, alphaNum12: { assetCode, issuer } };
  } catch {
    // A contract may write any text into a topic; text that is no asset names no asset.
    return undefined;
  }
}
