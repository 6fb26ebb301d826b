// Recorded LedgerCloseMeta of the public network, decoded.
import { readFileSync } from 'node:fs';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { xdr } from '@stellar/stellar-sdk/base';
import type { LedgerCloseMetaWire } from '../../src/sources/stellar/wire.ts';
import { sharedData } from './shared-data.ts';

export const PUBNET = 'Public Global Stellar Network ; September 2015';

export const PUBNET_BATCH = 'stellar-pubnet-lcm/raw/FCD285FF--53312000.xdr.zstd';

/** 53312000 (meta V3), 57500008 and 63092988 (meta V4 with unified events). */
export function pubnetLedger(sequence: number): LedgerCloseMetaWire {
  if (sequence === 53_312_000) {
    const batch = zstdDecompressSync(readFileSync(sharedData(PUBNET_BATCH)));
    return xdr.LedgerCloseMetaBatch.schema.decode(batch).ledgerCloseMetas[0]!;
  }
  const file = readFileSync(sharedData(`stellar-pubnet-lcm/raw/ledger-${sequence}.xdr.gz`));
  return xdr.LedgerCloseMeta.schema.decode(gunzipSync(file));
}
