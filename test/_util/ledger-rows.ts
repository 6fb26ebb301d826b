// Ledgers by hand: a stream with its follower, and batches written by the same code that followers use.
import { createHash } from 'node:crypto';
import type { Entry, Layer, UnderivedTouch } from '../../src/core/entry.ts';
import type { LedgerBatch, LedgerRange, LedgerRecord } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING, type Watch } from '../../src/core/watch.ts';
import { commitBatch, type CoverageTarget } from '../../src/store/coverage.ts';
import type { Database } from '../../src/store/database.ts';
import { advanceFollower, ensureSource, ensureWatchSet, openStream, type Stream } from '../../src/store/streams.ts';

export interface OpenedStream {
  readonly stream: Stream;
  readonly target: CoverageTarget;
}

/** Opens a stream whose follower starts at a ledger; `watch` is everything unless given. */
export async function openTestStream(
  db: Database,
  options: { passphrase?: string; startLedger?: number; watch?: Watch } = {},
): Promise<OpenedStream> {
  const { passphrase = 'A network by hand', startLedger = 1, watch = WATCH_EVERYTHING } = options;
  return db.em().transactional(async (em) => {
    const stream = await openStream(em, {
      networkPassphrase: passphrase,
      anchor: { sequence: Math.max(2, startLedger), hash: hashOf(passphrase, Math.max(2, startLedger)) },
      sandbox: false,
      startLedger,
      watchSet: (streamId) => ensureWatchSet(em, streamId, watch),
    });
    return { stream, target: await targetOf(em, stream.id, watch) };
  });
}

/** The target of another watch of the same stream. */
export async function targetOf(
  em: ReturnType<Database['em']>,
  streamId: number,
  watch: Watch,
): Promise<CoverageTarget> {
  return {
    streamId,
    watch,
    watchSetId: await ensureWatchSet(em, streamId, watch),
    sourceId: await ensureSource(em, 'stellar-archive:by-hand'),
  };
}

export type EntryByHand = Partial<Entry> & Pick<Entry, 'ledger' | 'account' | 'amount'>;

export function entryByHand(given: EntryByHand): Entry {
  return {
    txIndex: 1,
    opIndex: 1,
    leg: 0,
    layer: 'operations',
    txHash: hashOf('transaction', given.ledger * 100 + (given.txIndex ?? 1)),
    asset: 'native',
    kind: 'payment',
    counterparty: null,
    status: 'success',
    resultCode: null,
    subAccount: null,
    subAccountType: null,
    ...given,
  };
}

/** Close time of a ledger by hand, unix seconds: five seconds apart. */
export function closeTimeOf(ledger: number): number {
  return 1_700_000_000 + ledger * 5;
}

export function batchByHand(
  range: LedgerRange,
  entries: readonly EntryByHand[],
  options: { layers?: readonly Layer[]; underived?: readonly (UnderivedTouch & { ledger: number })[] } = {},
): LedgerBatch {
  const records: LedgerRecord[] = [];
  for (let sequence = range.from; sequence < range.to; sequence++) {
    records.push({
      sequence,
      hash: hashOf('ledger', sequence),
      prevHash: hashOf('ledger', sequence - 1),
      closeTime: closeTimeOf(sequence),
      txCount: 1,
      entries: entries.filter((entry) => entry.ledger === sequence).map(entryByHand),
      underived: (options.underived ?? []).filter((touch) => touch.ledger === sequence),
    });
  }
  return {
    range,
    layers: options.layers ?? ['operations'],
    proof: 'chained',
    records,
    last: records.at(-1)!,
    bytesRead: 0,
    decodeMs: 0,
  };
}

/** Commits a batch, and moves the follower on when it continues it. */
export async function commitByHand(
  db: Database,
  { stream, target }: OpenedStream,
  range: LedgerRange,
  entries: readonly EntryByHand[],
  options: Parameters<typeof batchByHand>[2] & { follow?: boolean } = {},
): Promise<void> {
  const batch = batchByHand(range, entries, options);
  await db.em().transactional(async (em) => {
    const { newLedgers } = await commitBatch(em, target, batch);
    if (options.follow === false) return;
    await advanceFollower(em, stream.id, {
      nextLedger: range.to,
      last: batch.last,
      newLedgers,
      watchSetId: target.watchSetId,
    });
  });
}

function hashOf(kind: string, number: number): string {
  return createHash('sha256').update(`${kind} ${number}`).digest('hex');
}
