// Goal: a run ends once, with a verdict that it can answer for, whatever fails around it. Method: books that break, workers that overlap, runs
// that are cancelled, and 30,000 rows that all differ.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Book, BookSide } from '../../src/core/book.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import { createReconciliationService } from '../../src/services/reconciliation.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { openDatabase, sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import { openHouse, type House, type HouseOptions } from '../_util/reconcile.ts';
import { testCaller } from '../_util/services.ts';

const SHOP = 'GSHOP';
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
// Its million rows take their time to be removed on a busy machine.
afterAll(() => test.drop(), 300_000);

const leg = (ledger: number, amount = 5n) => ({ ledger, account: SHOP, amount });
const row = (at: House, ledger: number, more: object = {}) => at.row(ledger, { account: SHOP, amount: 5n, ...more });
const once = { attempt: 1, maxAttempts: 1, signal: new AbortController().signal };
const leftovers = async () => sql(test.db.em(), 'select 1 from trueup.run_findings limit 1');

async function drifting(options?: HouseOptions): Promise<House> {
  const at = await openHouse(test.db, options);
  await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20), leg(30)]);
  await at.record([row(at, 10), row(at, 20, { amount: 6n })], 400);
  return at;
}

/** A book whose sides do something else than the recorded one's. */
function bookWith(changes: (side: BookSide) => Partial<BookSide>): (recorded: Book) => Book {
  return (recorded) => ({
    async open(level, signal) {
      const side = await recorded.open(level, signal);
      return { ...side, ...changes(side), [Symbol.asyncDispose]: () => side.close() };
    },
  });
}

describe('a book that cannot be read', () => {
  const broken = new TrueUpError('BOOK_UNREADABLE', 'relation "payments" does not exist', { fix: 'see the query' });
  const never: HouseOptions = { book: () => ({ open: () => Promise.reject(broken) }) };

  it('is tried again by the queue for a tick, then ends INCONCLUSIVE in a transaction of its own, never CLEAN', async () => {
    const at = await drifting(never);
    const run = (await at.service.runOfTick(at.name, `${at.name} tick 1`))!;
    for (const attempt of [1, 2]) {
      expect(await failureOf(runReconciliation(at.runDeps, run.id, { ...once, attempt, maxAttempts: 3 }))).toBe(broken);
      expect(await at.service.get(run.id)).toMatchObject({ state: 'running', verdict: null });
    }
    await failureOf(runReconciliation(at.runDeps, run.id, { ...once, attempt: 3, maxAttempts: 3 }));
    expect(await at.service.latest({ policy: at.name, level: null })).toMatchObject({
      id: run.id,
      state: 'succeeded',
      verdict: 'INCONCLUSIVE',
      summary: {
        inconclusive: [
          { reason: 'BOOK_UNREADABLE', message: 'relation "payments" does not exist', fix: 'see the query' },
        ],
        sides: { ledger: { records: null }, book: { records: null, complete: false } },
      },
    });
    expect((await at.metrics.render()).body).toContain('reconciliation_status -1');
    // The policy is free for its next tick.
    expect(await at.service.runOfTick(at.name, `${at.name} tick 2`)).not.toBeNull();
  });

  it('tells a person at once', async () => {
    const at = await drifting(never);
    expect(await at.run({ trigger: 'manual', attempt: 1, maxAttempts: 5 })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { inconclusive: [{ reason: 'BOOK_UNREADABLE' }] },
    });
  });

  it('leaves nothing of a comparison that broke off half-way', async () => {
    const at = await drifting({
      book: bookWith((side) => ({
        async *entries(query, signal) {
          yield* side.entries(query, signal);
          throw broken;
        },
      })),
    });
    expect(await at.run({ trigger: 'manual' })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { counts: { appeared: 0, drifted: 0, matched: 0 } },
    });
    expect([...(await at.drifts()), ...(await leftovers())]).toEqual([]);
  });

  it('is said so where its keys come out of order or one key has too many rows', async () => {
    const many = await drifting({
      book: bookWith((side) => ({
        async *entries(query, signal) {
          for await (const rows of side.entries(query, signal)) for (let i = 0; i < 10_001; i++) yield [rows[0]!];
        },
      })),
    });
    expect(await many.run({ trigger: 'manual' })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { inconclusive: [{ message: expect.stringContaining('more than 10000 rows') as string }] },
    });
    const unordered = await drifting({
      book: bookWith((side) => ({
        async *entries(query, signal) {
          for await (const rows of side.entries(query, signal)) yield [...rows].reverse();
        },
      })),
    });
    expect(await unordered.run({ trigger: 'manual' })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { inconclusive: [{ message: expect.stringContaining('out of byte order') as string }] },
    });
  });

  it('ends a run that fails of something else as failed, without a verdict', async () => {
    const at = await drifting({ book: () => ({ open: () => Promise.reject(new TypeError('secret detail')) }) });
    const tick = (await at.service.runOfTick(at.name, `${at.name} one`))!;
    await expect(runReconciliation(at.runDeps, tick.id, once)).rejects.toThrow('secret detail');
    expect(await at.service.get(tick.id)).toMatchObject({
      state: 'failed',
      verdict: null,
      error: { reason: 'INTERNAL', message: 'internal error' },
    });
    expect(await failureOf(at.service.latest({ policy: at.name, level: null }))).toMatchObject({
      reason: 'NO_SCHEDULED_RUN_YET',
    });
  });
});

describe('a run', () => {
  it('gives the same digest and counts for the same cut and sides', async () => {
    const at = await drifting();
    const digests = new Set<string>();
    for (let i = 0; i < 3; i++) digests.add((await at.run()).summary!.resultDigest!);
    expect(digests.size).toBe(1);
    await at.record([row(at, 30, { amount: 4n })], 400);
    digests.add((await at.run()).summary!.resultDigest!);
    expect(digests.size).toBe(2);
  });

  it('is shown by a new process from the database, without asking anybody again', async () => {
    const at = await drifting();
    const run = await at.run();
    const other = await openDatabase({ url: test.url });
    try {
      const service = createReconciliationService({
        db: other,
        queue: { send: () => Promise.reject(new Error('nothing to send')) },
        policies: at.policies,
        networkPassphrase: at.name,
        sandbox: false,
      });
      const latest = await service.latest({ policy: at.name, level: null });
      expect(latest).toMatchObject({ id: run.id, verdict: 'DRIFT_DETECTED' });
      expect(latest.summary).toEqual(run.summary);
      const { items } = await service.drifts.list({ policy: at.name }, { size: 10, after: null });
      expect(items).toHaveLength(2);
    } finally {
      await other.close();
    }
  });

  it('is made once of a tick, and two ticks of a policy never overlap', async () => {
    const at = await drifting();
    const made = await Promise.all(Array.from({ length: 4 }, () => at.service.runOfTick(at.name, `${at.name} tick`)));
    expect(new Set(made.map((run) => run?.id)).size).toBe(1);
    expect(await at.service.runOfTick(at.name, `${at.name} the next tick`)).toBeNull();
    expect(
      await failureOf(
        at.service.start(
          { policy: at.name, level: null, range: null, windowMs: null, scope: null, requestId: null },
          testCaller,
        ),
      ),
    ).toMatchObject({ reason: 'RUN_ALREADY_ACTIVE' });
  });

  it('answers a repeated request with its first run, and refuses another one under its id', async () => {
    const at = await drifting();
    const call = {
      policy: at.name,
      level: null,
      range: null,
      windowMs: 3_600_000,
      scope: { accounts: [SHOP], assets: ['native'], kinds: ['payment'] },
      requestId: `request ${at.name}`,
    };
    const first = await at.service.start(call, testCaller);
    expect((await at.service.start(call, testCaller)).id).toBe(first.id);
    expect(at.sent).toEqual([{ name: 'reconcile', payload: { run_id: first.id } }]);
    expect(await failureOf(at.service.start({ ...call, windowMs: 1 }, testCaller))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    expect(
      await failureOf(at.service.start({ ...call, scope: { ...call.scope, assets: [] } }, testCaller)),
    ).toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });
});

describe('two workers', () => {
  it('that take one run end it once, with every drift stored and counted once', async () => {
    const at = await drifting();
    for (let round = 0; round < 10; round++) {
      const run = (await at.service.runOfTick(at.name, `${at.name} ${round}`))!;
      await Promise.all([1, 2, 3].map(() => runReconciliation(at.runDeps, run.id, once)));
      expect(await at.service.get(run.id)).toMatchObject({
        state: 'succeeded',
        verdict: 'DRIFT_DETECTED',
        summary: { counts: { drifted: 2 } },
      });
    }
    expect([await at.counted('MISSING_IN_DB'), await at.counted('AMOUNT_MISMATCH')]).toEqual([1, 1]);
    const [runs] = await sql<{ seen: number }>(
      test.db.em(),
      'select max(seen_runs) as seen from trueup.drifts where policy = $1',
      [at.name],
    );
    expect([runs!.seen, await leftovers()]).toEqual([10, []]);
  });

  it("don't mix: one that was taken for dead and comes back keeps nothing and ends nothing", async () => {
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let opens = 0;
    const at = await drifting({
      book: bookWith((side) => {
        const isFirst = ++opens === 1;
        return {
          async entriesByKeys(keys, signal) {
            if (isFirst) {
              reached.resolve();
              await gate.promise;
              // It saw a book without rows, let us say.
              return [];
            }
            return side.entriesByKeys(keys, signal);
          },
        };
      }),
    });
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    const dead = runReconciliation(at.runDeps, run.id, once);
    await reached.promise;
    await runReconciliation(at.runDeps, run.id, once);
    const before = await at.service.get(run.id);
    expect(before).toMatchObject({ state: 'succeeded', summary: { counts: { drifted: 2 } } });
    gate.resolve();
    await dead;
    expect(await at.service.get(run.id)).toEqual(before);
    expect([(await at.drifts()).length, await leftovers()]).toEqual([2, []]);
  });
});

describe('cancelling', () => {
  it('ends a run that waits, and one under way, which then keeps nothing', async () => {
    const at = await drifting();
    const waiting = (await at.service.runOfTick(at.name, `${at.name} waiting`))!;
    expect(await at.service.cancel({ id: waiting.id, reason: 'not now', requestId: null }, testCaller)).toMatchObject({
      state: 'cancelled',
    });
    await runReconciliation(at.runDeps, waiting.id, once);
    expect((await at.service.get(waiting.id)).state).toBe('cancelled');

    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const slow = await drifting({
      book: bookWith((side) => ({
        async entriesByKeys(keys, signal) {
          reached.resolve();
          await gate.promise;
          return side.entriesByKeys(keys, signal);
        },
      })),
    });
    const run = (await slow.service.runOfTick(slow.name, `${slow.name} under way`))!;
    const working = runReconciliation(slow.runDeps, run.id, once);
    await reached.promise;
    expect(await slow.service.cancel({ id: run.id, reason: 'stop', requestId: null }, testCaller)).toMatchObject({
      state: 'running',
    });
    gate.resolve();
    await working;
    expect(await slow.service.get(run.id)).toMatchObject({ state: 'cancelled', verdict: null, summary: null });
    expect([...(await slow.drifts()), ...(await leftovers())]).toEqual([]);
    expect(await slow.counted('MISSING_IN_DB')).toBe(0);
    expect(
      await failureOf(slow.service.cancel({ id: (await slow.run()).id, reason: 'late', requestId: null }, testCaller)),
    ).toMatchObject({ reason: 'RUN_ALREADY_FINISHED' });
  });

  it('hands a run back when the process stops, for the next one to do whole', async () => {
    const stop = new AbortController();
    const at = await drifting({
      book: bookWith((side) => ({
        entries(query, signal) {
          stop.abort(new TrueUpError('SHUTTING_DOWN', 'stopping'));
          return side.entries(query, signal);
        },
      })),
    });
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    await expect(runReconciliation(at.runDeps, run.id, { ...once, signal: stop.signal })).rejects.toMatchObject({
      reason: 'SHUTTING_DOWN',
    });
    expect((await at.service.get(run.id)).state).toBe('running');
    await runReconciliation(at.runDeps, run.id, once);
    expect(await at.service.get(run.id)).toMatchObject({ state: 'succeeded', verdict: 'DRIFT_DETECTED' });
  });
});

describe('size', () => {
  const SEGMENT_KEYS = 2_000;
  const LOOKS_PER_COLLECTION = 50;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;

  /** A house in which every one of so many rows differs from its leg by one. */
  async function differing(rows: number): Promise<House> {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 6401 });
    await at.record([], 6400);
    const columns = `1 + n % 6000 as ledger, sha256((n || $1)::bytea) as hash, to_timestamp(1700000000 + (1 + n % 6000) * 5) as at`;
    await sql(
      test.db.em(),
      `insert into trueup.entries (stream_id, layer, ledger, tx_index, op_index, leg, tx_hash, account, asset, amount, kind, failed, closed_at, source_id)
       select $2, 0, ledger, 1 + n / 6000, 1, 0, hash, '${SHOP}', 'native', n, 'payment', false, at, $3
       from (select n, ${columns} from generate_series(1, ${rows}) as n) as made`,
      [at.name, at.opened.stream.id, at.opened.target.sourceId],
    );
    await sql(
      test.db.em(),
      `insert into trueup.book_entries (book_id, row_id, revision, key, account, asset, amount, occurred_at)
       select (select id from trueup.books where name = $1), n::text, 1, encode(hash, 'hex'), '${SHOP}', 'native', n + 1, at
       from (select n, ${columns} from generate_series(1, ${rows}) as n) as made`,
      [at.name],
    );
    await sql(test.db.em(), 'analyze trueup.entries, trueup.book_entries');
    return at;
  }

  /** The largest resident memory on the way, and the largest heap that a full collection leaves. */
  async function peakMiB(work: () => Promise<void>): Promise<{ resident: number; kept: number }> {
    let [resident, kept, looks] = [0, 0, 0];
    const watch = setInterval(() => {
      resident = Math.max(resident, process.memoryUsage.rss());
      if (looks++ % LOOKS_PER_COLLECTION > 0) return;
      collect();
      const { heapUsed, external } = process.memoryUsage();
      kept = Math.max(kept, heapUsed + external);
    }, 20);
    await work().finally(() => clearInterval(watch));
    return { resident: resident / 2 ** 20, kept: kept / 2 ** 20 };
  }

  it('keeps memory flat: 30,000 rows that all differ take little more than 3,000', async () => {
    const run = async (rows: number): Promise<void> => {
      const at = await differing(rows);
      Object.assign(at.runDeps, { segmentKeys: SEGMENT_KEYS });
      const counts = { ledgerRecords: rows, bookRecords: rows, matched: 0, drifted: rows };
      expect(await at.run({ signal: AbortSignal.timeout(240_000) })).toMatchObject({
        verdict: 'DRIFT_DETECTED',
        summary: { counts: { ...counts, appeared: rows } },
      });
      // The second run meets as many open drifts.
      expect((await at.run({ signal: AbortSignal.timeout(240_000) })).summary?.counts).toMatchObject({
        ...counts,
        appeared: 0,
      });
    };
    const few = await peakMiB(() => run(3_000));
    const many = await peakMiB(() => run(30_000));
    expect(many.resident - few.resident).toBeLessThan(100);
    // Half a kilobyte for each row more would show.
    expect(many.kept - few.kept).toBeLessThan(15);
  }, 600_000);
});
