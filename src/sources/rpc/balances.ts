// Balances as ledger entries: what RPC can be asked for by key.
import { Asset, StrKey, xdr } from '@stellar/stellar-sdk/base';
import { ACCOUNT_PATTERN, NATIVE } from '../../core/asset.ts';
import { TrueUpError } from '../../core/errors.ts';
import type { OpeningBalance } from '../source.ts';
import { corrupt, decodeXdr, oneLedger } from '../stellar/wire.ts';
import type { RpcApi, RpcCall } from './api.ts';

const MAX_KEYS_PER_REQUEST = 200;
const CONTRACT_PATTERN = /^C[A-Z2-7]{55}$/;

type LedgerKeyWire = Parameters<typeof xdr.LedgerKey.schema.encode>[0];
type LedgerEntryDataWire = ReturnType<typeof xdr.LedgerEntryData.schema.decode>;

/**
 * Native and the given issued assets of accounts (G...), and of contracts (C...) as the assets' own contracts hold them.
 * All balances of one request are of one ledger, which the answer names. An owner without a native entry has 0 native;
 * another asset without an entry is left out, which is the same as 0.
 */
export async function readRpcBalances(
  api: RpcApi,
  owners: readonly string[],
  assets: readonly string[],
  networkPassphrase: string,
  call: RpcCall,
): Promise<OpeningBalance[]> {
  const wanted = owners.flatMap((owner) =>
    [NATIVE, ...assets].map((asset) => ({ owner, asset, key: keyOf(owner, asset, networkPassphrase) })),
  );
  const balances: OpeningBalance[] = [];
  for (let at = 0; at < wanted.length; at += MAX_KEYS_PER_REQUEST) {
    const part = wanted.slice(at, at + MAX_KEYS_PER_REQUEST);
    const { entries, latestLedger } = await api.entries(
      part.map(({ key }) => key),
      call,
    );
    for (const { owner, asset, key } of part) {
      const entry = entries.get(key);
      if (entry === undefined && asset !== NATIVE) continue;
      balances.push({
        account: owner,
        asset,
        amount: entry === undefined ? 0n : amountOf(entry, latestLedger),
        ledger: latestLedger,
      });
    }
  }
  return balances;
}

function keyOf(owner: string, asset: string, networkPassphrase: string): string {
  return Buffer.from(xdr.LedgerKey.schema.encode(ledgerKey(owner, asset, networkPassphrase))).toString('base64');
}

function ledgerKey(owner: string, asset: string, networkPassphrase: string): LedgerKeyWire {
  if (ACCOUNT_PATTERN.test(owner)) {
    const accountId = { type: 0, ed25519: StrKey.decodeEd25519PublicKey(owner) } as const;
    if (asset === NATIVE) return { type: 0, account: { accountId } };
    return { type: 1, trustLine: { accountId, asset: trustLineAsset(asset) } };
  }
  if (!CONTRACT_PATTERN.test(owner))
    throw new TrueUpError('INVALID_REQUEST', `${owner} is neither an account (G...) nor a contract (C...)`);
  const contract = StrKey.decodeContract(sdkAsset(asset).contractId(networkPassphrase));
  const holder = { type: 1, contractId: StrKey.decodeContract(owner) } as const;
  return {
    type: 6,
    contractData: {
      contract: { type: 1, contractId: contract },
      key: { type: 16, vec: [symbol('Balance'), { type: 18, address: holder }] },
      durability: 1,
    },
  };
}

function amountOf(entryXdr: string, ledger: number): bigint {
  const range = oneLedger(ledger);
  const data: LedgerEntryDataWire = decodeXdr(
    xdr.LedgerEntryData.schema,
    Buffer.from(entryXdr, 'base64'),
    'a ledger entry',
    range,
  );
  if (data.type === 0) return data.account.balance;
  if (data.type === 1) return data.trustLine.balance;
  if (data.type === 6 && data.contractData.val.type === 17) {
    for (const { key, val } of data.contractData.val.map ?? []) {
      const isAmount = key.type === 15 && Buffer.from(key.sym.bytes).toString() === 'amount';
      if (isAmount && val.type === 10) return (val.i128.hi << 64n) | val.i128.lo;
    }
  }
  throw corrupt(range, 'an entry that was asked for as a balance holds none');
}

function trustLineAsset(asset: string) {
  const wire = xdr.Asset.schema.decode(sdkAsset(asset).toXDRObject().toXDR());
  if (wire.type === 0) throw new TrueUpError('INVALID_REQUEST', 'native has no trustline');
  return wire;
}

function sdkAsset(asset: string): Asset {
  if (asset === NATIVE) return Asset.native();
  const [code, issuer] = asset.split(':');
  return new Asset(code!, issuer);
}

/** The XDR of a symbol value: its type, its length, its bytes, and zeros up to a multiple of four. */
function symbol(text: string) {
  const bytes = Buffer.alloc(8 + Math.ceil(text.length / 4) * 4);
  bytes.writeUInt32BE(SYMBOL_VALUE);
  bytes.writeUInt32BE(text.length, 4);
  bytes.write(text, 8);
  return xdr.ScVal.schema.decode(bytes);
}

const SYMBOL_VALUE = 15;
