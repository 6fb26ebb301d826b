// The recorded testnet again and again, each time as later ledgers with transactions of their own: input without an end, made when it is asked
// for, so that what is measured isn't the memory that keeps it.
import {
  CHUNK_LEDGERS,
  type LedgerBatch,
  type LedgerHeader,
  type LedgerRange,
  type LedgerRecord,
} from '../src/core/ledger.ts';
import type { Source } from '../src/sources/source.ts';
import { TESTNET_PASSPHRASE } from './testnet.ts';

/** Ledgers that exist, as far as the source says. */
const TIP = 100_000_000;
/** The recorded ledgers 64 to 4095: 63 whole chunks, so that a read inside a chunk is one inside a recorded chunk. */
const RECORDED = { from: CHUNK_LEDGERS, length: 63 * CHUNK_LEDGERS };

type ReadRecorded = (range: LedgerRange, signal: AbortSignal) => Promise<readonly LedgerRecord[]>;

/** Decoded already. */
export function shiftedBatches(batches: readonly LedgerBatch[], maxSpanLedgers: number = CHUNK_LEDGERS): Source {
  const records = new Map(batches.flatMap((batch) => batch.records.map((record) => [record.sequence, record])));
  return shifted(
    ({ from, to }) => Promise.resolve(Array.from({ length: to - from }, (_, i) => records.get(from + i)!)),
    maxSpanLedgers,
  );
}

/** Fetched and decoded anew by each read. */
export function shiftedReads(source: Source): Source {
  return shifted(async (range, signal) => {
    const request = { range, layers: source.layers, watch: { everything: true, accounts: [], contracts: [] } };
    return (await source.read(request, signal)).records;
  }, CHUNK_LEDGERS);
}

function shifted(readRecorded: ReadRecorded, maxSpanLedgers: number): Source {
  const header = (sequence: number): LedgerHeader => ({
    sequence,
    hash: hashOf(sequence),
    prevHash: hashOf(sequence - 1),
    closeTime: 1_500_000_000 + sequence * 5,
  });
  return {
    kind: 'stellar-archive',
    id: 'stellar-archive:bench',
    networkPassphrase: TESTNET_PASSPHRASE,
    layers: ['operations'],
    proof: 'chained',
    maxSpanLedgers,
    tip: () => Promise.resolve({ ...header(TIP), oldest: 1 }),
    header: (sequence) => Promise.resolve(header(sequence)),
    async read({ range, layers }, signal) {
      const from = RECORDED.from + (range.from % RECORDED.length);
      const round = Math.floor(range.from / RECORDED.length);
      const recorded = await readRecorded({ from, to: from + range.to - range.from }, signal);
      const records = recorded.map(({ txCount, entries }, i): LedgerRecord => {
        const ledger = range.from + i;
        const moved = entries.map((entry) => ({ ...entry, ledger, txHash: shiftHash(entry.txHash, round) }));
        return { ...header(ledger), txCount, entries: moved, underived: [] };
      });
      return { range, layers, proof: 'chained', records, last: records.at(-1)!, bytesRead: 0, decodeMs: 0 };
    },
    close: () => Promise.resolve(),
  };
}

function hashOf(sequence: number): string {
  return sequence.toString(16).padStart(64, '0');
}

function shiftHash(txHash: string | null, round: number): string | null {
  return txHash === null ? null : round.toString(16).padStart(8, '0') + txHash.slice(8);
}
