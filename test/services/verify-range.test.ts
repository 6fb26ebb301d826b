// Goal: a check finds whatever is no longer as it was read, says what it could not check, and never calls that verified.
// Method: ledgers followed from a far network in memory into a real database, then spoilt row by row.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RangeFinding } from '../../src/core/verification.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { verifyRange } from '../../src/services/verify-range.ts';
import { commitUnreadable } from '../../src/store/coverage.ts';
import { sql } from '../../src/store/database.ts';
import { ensureSource } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import type { FakeOptions, FakeSource } from '../_util/fake-source.ts';
import { fake, follow, reached, stateOf } from '../_util/follow.ts';

const signal = new AbortController().signal;
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

/** A network that was followed to ledger 300. */
async function followed(options: Partial<FakeOptions> = {}): Promise<FakeSource> {
  const source = fake({ tip: 300, ...options });
  const follower = follow(test.db, source);
  await reached(test.db, source, 300);
  await follower.end();
  return source;
}

interface Asked {
  readonly from?: number;
  readonly to?: number;
  readonly reread?: boolean;
  readonly source?: string;
  readonly others?: readonly FakeSource[];
  readonly maxMs?: number;
}

function verify(source: FakeSource, { from = 1, to = 300, others = [], maxMs, ...call }: Asked = {}) {
  return verifyRange(
    {
      db: test.db,
      networkPassphrase: source.networkPassphrase,
      sources: [source, ...others],
      watch: WATCH_EVERYTHING,
      ...(maxMs !== undefined && { maxMs }),
    },
    {
      stream: null,
      layer: 'operations',
      range: { from, to: to + 1 },
      reread: call.reread ?? false,
      source: call.source ?? null,
    },
    signal,
  );
}

const found = (findings: readonly RangeFinding[]) =>
  findings.map(({ range, failure }) => `${failure.reason} ${range.from}-${range.to - 1}`);

describe('a check of what is stored', () => {
  it('verifies what is as it was read, and gives the digest of any part of it', async () => {
    const source = await followed();
    const whole = await verify(source);
    expect(whole).toMatchObject({
      verdict: 'verified',
      checkedLedgers: 300,
      checkedEntries: 300,
      findings: [],
      findingCount: 0,
      proof: 'chained',
    });
    expect(whole.digest).toMatch(/^300:[0-9a-f]{32}$/);
    const part = await verify(source, { from: 100, to: 130 });
    expect(part).toMatchObject({ verdict: 'verified', checkedLedgers: 31, checkedEntries: 31 });
    expect(part.digest).toMatch(/^31:/);
    expect(await failureOf(verify(source, { from: 10, to: 5 }))).toMatchObject({ reason: 'INVALID_LEDGER_RANGE' });
  });

  it('finds a changed amount, a missing row and one too many, each in its chunk and nowhere else', async () => {
    const source = await followed();
    const { stream } = await stateOf(test.db, source);
    const spoil = (statement: string) => sql(test.db.em(), statement, [stream.id]);
    await spoil('update trueup.entries set amount = amount + 1 where stream_id = $1 and ledger = 70');
    await spoil('delete from trueup.entries where stream_id = $1 and ledger = 130');
    await spoil(
      `insert into trueup.entries select stream_id, layer, ledger, tx_index, op_index, 9, tx_hash, account, asset, amount, kind, counterparty,
         failed, result_code, sub_account, sub_account_type, closed_at, source_id from trueup.entries where stream_id = $1 and ledger = 290`,
    );
    const checked = await verify(source);
    expect(checked.verdict).toBe('mismatch');
    expect(found(checked.findings)).toEqual(['SEAL_BROKEN 64-127', 'SEAL_BROKEN 128-191', 'SEAL_BROKEN 256-300']);
    expect(checked.findings[1]).toMatchObject({
      expected: expect.stringMatching(/^64:/) as string,
      actual: expect.stringMatching(/^63:/) as string,
    });
    expect(checked.findings[0]!.failure.message).toContain('with other content');
    expect((await verify(source, { from: 192, to: 250 })).verdict).toBe('verified');
  });

  it('finds a broken link of the hash chain', async () => {
    const source = await followed();
    const { stream } = await stateOf(test.db, source);
    await sql(
      test.db.em(),
      `update trueup.coverage_chunks set last_hash = repeat('f', 64) where stream_id = $1 and to_ledger = 128`,
      [stream.id],
    );
    const checked = await verify(source);
    expect(checked).toMatchObject({ verdict: 'mismatch' });
    expect(found(checked.findings)).toEqual(['SOURCE_DIVERGED 128-128']);
  });

  it('says what is not covered, and is incomplete rather than verified then', async () => {
    const source = await followed();
    const { stream, row } = await stateOf(test.db, source);
    const target = {
      streamId: stream.id,
      watch: WATCH_EVERYTHING,
      watchSetId: row.watchSetId,
      sourceId: await ensureSource(test.db.em(), source.id),
    };
    const why = { state: 'unavailable', reason: 'LEDGER_UNAVAILABLE', detail: '', proof: 'chained' } as const;
    await test.db.em().transactional((em) => commitUnreadable(em, target, ['operations'], { from: 301, to: 305 }, why));
    const checked = await verify(source, { to: 310 });
    expect(checked).toMatchObject({ verdict: 'incomplete', checkedLedgers: 300, digest: null, findingCount: 2 });
    expect(found(checked.findings)).toEqual(['LEDGER_UNAVAILABLE 301-304', 'COVERAGE_GAP 305-310']);
  });

  it('says how far it came where its time was not enough', async () => {
    const source = await followed();
    const checked = await verify(source, { maxMs: -1 });
    expect(checked).toMatchObject({ verdict: 'incomplete', checkedLedgers: 0, digest: null });
    expect(found(checked.findings)).toEqual(['DEADLINE_EXCEEDED 1-300']);
  });
});

describe('a check against the source', () => {
  it('finds nothing where the source has the same, however short its reads are', async () => {
    const source = await followed();
    expect(await verify(source, { reread: true, from: 10, to: 290 })).toMatchObject({ verdict: 'verified' });
    const short = fake({ passphrase: source.networkPassphrase, tip: 300, maxSpanLedgers: 10 });
    expect(await verify(short, { reread: true })).toMatchObject({ verdict: 'verified', findings: [] });
    const sparse = await followed({
      proof: 'provider-asserted',
      entries: (ledger) => (ledger % 50 === 0 ? [{ ledger, account: 'GSHOP', amount: 1n }] : []),
    });
    expect(await verify(sparse, { reread: true })).toMatchObject({ verdict: 'verified', proof: 'provider-asserted' });
  });

  it('finds rows that were changed together with their seal', async () => {
    const source = await followed();
    source.tamper = (batch) => ({
      ...batch,
      records: batch.records.map((record) =>
        record.sequence === 70
          ? { ...record, entries: record.entries.map((entry) => ({ ...entry, amount: 1n })) }
          : record,
      ),
    });
    expect(await verify(source)).toMatchObject({ verdict: 'verified' });
    const checked = await verify(source, { reread: true });
    expect(checked).toMatchObject({ verdict: 'mismatch' });
    expect(found(checked.findings)).toEqual(['ENTRY_CONFLICT 64-127']);
  });

  it('finds another history, and says what could not be read', async () => {
    const source = await followed();
    source.forkAt = 260;
    expect(found((await verify(source, { reread: true })).findings)).toEqual(['SOURCE_DIVERGED 300-300']);
    source.forkAt = Infinity;
    source.faults.set(100, { reason: 'SOURCE_TIMEOUT', named: true });
    const checked = await verify(source, { reread: true });
    expect(checked).toMatchObject({ verdict: 'incomplete' });
    expect(found(checked.findings)).toEqual(['SOURCE_TIMEOUT 100-100']);
  });

  it('asks a second source for a sample, and a source by its name', async () => {
    const source = await followed();
    const other = fake({ passphrase: source.networkPassphrase, tip: 300 });
    expect(await verify(source, { reread: true, others: [other] })).toMatchObject({ verdict: 'verified' });
    other.forkAt = 250;
    const checked = await verify(source, { reread: true, others: [other] });
    expect(checked.verdict).toBe('mismatch');
    expect(found(checked.findings)).toContain('SOURCE_DIVERGED 300-300');
    expect(checked.findings.every((finding) => finding.range.from >= 250)).toBe(true);
    expect(await failureOf(verify(source, { reread: true, source: 'nobody' }))).toMatchObject({
      reason: 'SOURCE_NOT_FOUND',
    });
  });
});
