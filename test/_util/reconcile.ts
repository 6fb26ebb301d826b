// A house for reconciliations: one stream by hand, one recorded book, one policy, and runs as the queue would start them.
import type { BookBalance, BookRowInput, Book } from '../../src/core/book.ts';
import type { Drift, DriftFilter } from '../../src/core/drift.ts';
import type { LedgerRange } from '../../src/core/ledger.ts';
import { POLICY_DEFAULTS, type Level, type Policy } from '../../src/core/policy.ts';
import type { RunTrigger } from '../../src/core/run.ts';
import type { Watch } from '../../src/core/watch.ts';
import { recordEntries } from '../../src/services/book.ts';
import { createRecordedBook } from '../../src/services/book-side.ts';
import { createReconciliationService, type StartCall } from '../../src/services/reconciliation.ts';
import type { RunAlerts } from '../../src/services/run-alerts.ts';
import { runReconciliation, type RunDeps } from '../../src/services/run-reconciliation.ts';
import { commitBatch, commitUnreadable, type Unreadable } from '../../src/store/coverage.ts';
import type { Database } from '../../src/store/database.ts';
import type { StoredRun } from '../../src/store/runs.ts';
import { advanceFollower, saveTip } from '../../src/store/streams.ts';
import {
  batchByHand,
  closeTimeOf,
  entryByHand,
  openTestStream,
  type EntryByHand,
  type OpenedStream,
} from './ledger-rows.ts';
import { quietEvents, testCaller } from './services.ts';

/** Times of ledgers count back from here, so that all of them are older than any grace. */
export interface HouseOptions {
  readonly policy?: Partial<Policy>;
  readonly level?: Level;
  readonly startLedger?: number;
  readonly watch?: Watch;
  /** Added to every close time, seconds. */
  readonly shiftSeconds?: number;
  /** What the run opens in place of the recorded book. */
  readonly book?: (recorded: Book) => Book;
  readonly endLedger?: number;
  readonly maxSilenceMs?: number;
  /** Absent: nobody is told. */
  readonly alerts?: RunAlerts;
}

export type RowByHand = Partial<BookRowInput> & { readonly account: string; readonly amount: bigint | null };

let houses = 0;

/** Match key of a transaction by hand. */
export function hashAt(ledger: number, txIndex = 1): string {
  return entryByHand({ ledger, txIndex, account: '', amount: 0n }).txHash!;
}

export type House = Awaited<ReturnType<typeof openHouse>>;

export async function openHouse(db: Database, options: HouseOptions = {}) {
  const name = `house-${++houses}`;
  const shiftSeconds = options.shiftSeconds ?? 0;
  const opened: OpenedStream = await openTestStream(db, {
    passphrase: name,
    ...(options.startLedger !== undefined && { startLedger: options.startLedger }),
    ...(options.watch && { watch: options.watch }),
  });
  const { events, metrics } = quietEvents();
  const policy: Policy = {
    ...POLICY_DEFAULTS,
    name,
    level: options.level ?? 'entries',
    book: { kind: 'recorded', name },
    ...options.policy,
  };
  const policies = new Map([[name, policy]]);
  const recorded = createRecordedBook({ db }, name);
  const sent: { name: string; payload: unknown }[] = [];
  const service = createReconciliationService({
    db,
    queue: {
      send: (_em, job, payload) => {
        sent.push({ name: job, payload });
        return Promise.resolve('job');
      },
    },
    policies,
    networkPassphrase: name,
    sandbox: false,
  });
  const runDeps: RunDeps = {
    db,
    policies,
    bookOf: () => options.book?.(recorded) ?? recorded,
    networkPassphrase: name,
    following: { endLedger: options.endLedger ?? null, maxSilenceMs: options.maxSilenceMs ?? 120_000 },
    ...(options.alerts && { alerts: options.alerts }),
    events,
  };
  const timeOf = (ledger: number): Date => new Date((closeTimeOf(ledger) + shiftSeconds) * 1000);
  let rows = 0;
  let ticks = 0;

  return {
    db,
    name,
    opened,
    policy,
    policies,
    service,
    runDeps,
    metrics,
    sent,
    timeOf,

    /** Commits ledgers; the follower moves on unless told otherwise. */
    async ledgers(
      range: LedgerRange,
      entries: readonly EntryByHand[] = [],
      more: { follow?: boolean; target?: OpenedStream['target'] } = {},
    ): Promise<void> {
      const plain = batchByHand(range, entries);
      const records = plain.records.map((record) => ({ ...record, closeTime: record.closeTime + shiftSeconds }));
      const batch = { ...plain, records, last: records.at(-1)! };
      const target = more.target ?? opened.target;
      await db.em().transactional(async (em) => {
        const { newLedgers } = await commitBatch(em, target, batch);
        if (more.follow === false) return;
        await advanceFollower(em, opened.stream.id, {
          nextLedger: range.to,
          last: batch.last,
          newLedgers,
          watchSetId: target.watchSetId,
        });
      });
    },

    /** Sets ledgers apart, and moves the follower past them. */
    async unreadable(range: LedgerRange, state: Unreadable['state'] = 'quarantined'): Promise<void> {
      await db.em().transactional(async (em) => {
        const why = {
          state,
          reason: state === 'quarantined' ? 'SOURCE_CORRUPT' : 'LEDGER_UNAVAILABLE',
          detail: 'by hand',
          proof: 'chained',
        } as const;
        await commitUnreadable(em, opened.target, ['operations'], range, why);
        await advanceFollower(em, opened.stream.id, {
          nextLedger: range.to,
          last: null,
          newLedgers: 0,
          watchSetId: opened.target.watchSetId,
        });
      });
    },

    tip: (sequence: number) =>
      saveTip(db.em(), opened.stream.id, { sequence, closeTime: timeOf(sequence).getTime() / 1000, oldest: 1 }),

    /** A row of the book: of a ledger's transaction, at its close, unless told otherwise. */
    row(ledger: number, given: RowByHand): BookRowInput {
      return {
        rowId: given.rowId ?? `row-${++rows}`,
        key: hashAt(ledger),
        asset: 'native',
        kind: null,
        counterparty: null,
        status: 'completed',
        subAccount: null,
        occurredAt: timeOf(ledger),
        ledger: null,
        retracted: false,
        ...given,
      };
    },

    /** Records rows; complete through the given ledger's close, or as it was (null). */
    async record(
      given: readonly BookRowInput[],
      completeThrough: number | null,
      balances: readonly BookBalance[] = [],
    ): Promise<void> {
      const call = {
        book: name,
        rows: given,
        balances,
        completeThrough: completeThrough === null ? null : timeOf(completeThrough),
        requestId: null,
      };
      await recordEntries({ db }, call, testCaller);
    },

    /** One run, begun and worked on. */
    async run(
      call: Partial<StartCall> & {
        trigger?: RunTrigger;
        signal?: AbortSignal;
        attempt?: number;
        maxAttempts?: number;
      } = {},
    ): Promise<StoredRun> {
      const {
        trigger = 'scheduled',
        signal = AbortSignal.timeout(60_000),
        attempt = 1,
        maxAttempts = 1,
        ...more
      } = call;
      const run =
        trigger === 'scheduled'
          ? (await service.runOfTick(name, `${name} ${++ticks}`))!
          : await service.start(
              { policy: name, level: null, range: null, windowMs: null, scope: null, requestId: null, ...more },
              testCaller,
            );
      await runReconciliation(runDeps, run.id, { attempt, maxAttempts, signal });
      return (await service.get(run.id)) as StoredRun;
    },

    async drifts(filter: DriftFilter = {}): Promise<Drift[]> {
      const { items } = await service.drifts.list({ policy: name, ...filter }, { size: 1000, after: null });
      return [...items].sort((a, b) =>
        a.matchKey < b.matchKey ? -1 : a.matchKey > b.matchKey ? 1 : a.occurrence - b.occurrence,
      );
    },

    /** What reconciliation_drift_total says of a kind. */
    async counted(kind: string): Promise<number> {
      const line = (await metrics.render()).body
        .split('\n')
        .find((each) => each.startsWith(`reconciliation_drift_total{issue="${kind}"}`));
      return Number(line?.split(' ')[1] ?? 0);
    },
  };
}
