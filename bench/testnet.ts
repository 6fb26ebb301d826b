// Stellar testnet from genesis, ledgers 1-4095, as it was recorded: the real ledger that the figures are measured on.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { LedgerBatch } from '../src/core/ledger.ts';
import { nextRead } from '../src/core/follow.ts';
import { WATCH_EVERYTHING } from '../src/core/watch.ts';
import type { Source } from '../src/sources/source.ts';
import { createArchiveSource } from '../src/sources/stellar-archive.ts';

const archive = new URL('../../shared/data/stellar-testnet-archive/raw', import.meta.url);

export const TESTNET_LAST_LEDGER = 4095;
export const TESTNET_PASSPHRASE = 'Test SDF Network ; September 2015';
export const hasTestnet = existsSync(archive);
export const TESTNET_ABSENT = `the recorded testnet archive isn't there: ${fileURLToPath(archive)}`;

export function openTestnet(): Source {
  return createArchiveSource({ url: archive.href, networkPassphrase: TESTNET_PASSPHRASE });
}

/** All of it, in the spans in which the follower reads. */
export async function readTestnet(): Promise<LedgerBatch[]> {
  const source = openTestnet();
  const batches: LedgerBatch[] = [];
  for (let next = 1; ; next = batches.at(-1)!.range.to) {
    const range = nextRead(next, TESTNET_LAST_LEDGER, null, source.maxSpanLedgers);
    if (range === null) break;
    const request = { range, layers: source.layers, watch: WATCH_EVERYTHING };
    batches.push(await source.read(request, AbortSignal.timeout(60_000)));
  }
  await source.close();
  return batches;
}
