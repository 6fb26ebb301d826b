// Goal: entities say the same of their tables as the migrations, and no value bends on its way through one.
// Method: their metadata beside information_schema; values at the edges, written and read; a failing server.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sql } from '../../src/store/database.ts';
import { AuditEntity, ENTITIES, FollowerEntity, RunEntity, StreamEntity } from '../../src/store/entities.ts';
import { listDeadLetters } from '../../src/store/job-health.ts';
import { getRun, insertRun, listRuns } from '../../src/store/runs.ts';
import { currentStream, openStream, readFollower, saveTip, setStreamState } from '../../src/store/streams.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const run = (policy: string, requestId: string | null) => ({
  ...{
    id: randomUUID(),
    requestId,
    policy,
    level: 'entries' as const,
    trigger: 'manual' as const,
    sandbox: false,
    stream: null,
    book: 'b',
  },
  request: { range: null, windowMs: 9_007_199_254_740_991, scope: null },
  ...{ traceId: 't', actor: 'ann' },
});

describe('entities', () => {
  it('fit their tables: every property is a column of the same type, and null where the column may be', async () => {
    const rows = await sql<{ table_name: string; column_name: string; type: string; nullable: boolean }>(
      test.db.em(),
      `select table_name, column_name, is_nullable = 'YES' as nullable,
         case when data_type = 'timestamp with time zone' then 'timestamptz' when data_type = 'integer' then 'int' else data_type end as type
       from information_schema.columns where table_schema = 'trueup'`,
    );
    const columns = new Map(rows.map((row) => [`${row.table_name}.${row.column_name}`, [row.type, row.nullable]]));
    for (const entity of ENTITIES) {
      const meta = test.db.orm.getMetadata().find(entity as never)!;
      const said = meta.props.map(
        (property) =>
          [
            `${meta.tableName}.${property.fieldNames[0]}`,
            [property.columnTypes[0]!.replace(/\(.*\)$/, ''), property.nullable === true],
          ] as const,
      );
      expect(said).toEqual(said.map(([name]) => [name, columns.get(name)]));
    }
  });

  it('are each the only word for their table', () => {
    const tables = ENTITIES.map((entity) => test.db.orm.getMetadata().find(entity as never)!.tableName);
    expect(new Set(tables).size).toBe(tables.length);
  });
});

describe('values through entities', () => {
  it('keep a bigint past 2^53, null apart from nothing, and the text of jsonb as PostgreSQL writes it', async () => {
    const em = test.db.em();
    await sql(em, `alter sequence trueup.audit_log_id_seq restart with 9007199254740993`);
    await em.insert(AuditEntity, {
      actor: 'a',
      role: 'read',
      method: 'm',
      requestId: '',
      resource: 'r/1',
      after: '{"n":9007199254740993}',
    });
    expect(await em.findOneOrFail(AuditEntity, 9_007_199_254_740_993n)).toMatchObject({
      id: 9_007_199_254_740_993n,
      before: null,
      after: '{"n": 9007199254740993}',
    });
  });

  it('keep money and times in jsonb, and stay null where a run has none', async () => {
    const scope = { accounts: ['G1'], assets: [] } as never;
    const asked = { ...run('scoped', null), request: { range: { from: 1, to: 9 }, windowMs: null, scope } };
    expect(await insertRun(test.db.em(), asked)).toBe(true);
    await sql(test.db.em(), `update trueup.reconciliations set progress = $2::jsonb where id = $1`, [
      asked.id,
      '{"total":{"$n":"9007199254740993"},"at":{"$t":"2026-01-01T00:00:00.000Z"}}',
    ]);
    expect(await getRun(test.db.em(), asked.id)).toMatchObject({
      request: asked.request,
      summary: null,
      progress: { total: 9_007_199_254_740_993n, at: new Date('2026-01-01T00:00:00Z') },
    });
    expect(typeof (await test.db.em().findOneOrFail(RunEntity, { id: asked.id })).sequence).toBe('bigint');
  });

  it('say false where a policy has a run under way or the request is known, and leave the transaction alive', async () => {
    await test.db.em().transactional(async (em) => {
      expect(await insertRun(em, run('one', 'r-1'))).toBe(true);
      expect(await insertRun(em, run('one', 'r-2'))).toBe(false);
      expect(await insertRun(em, run('two', 'r-1'))).toBe(false);
      expect(await insertRun(em, run('two', 'r-2'))).toBe(true);
    });
  });
});

describe('questions through entities', () => {
  it('are answered by the database, not by what the same em read before', async () => {
    await test.db.em().transactional(async (em) => {
      const anchor = { sequence: 1, hash: 'ab'.repeat(32) };
      const watchSet = async (streamId: number) =>
        (
          await sql<{ id: number }>(
            em,
            `insert into trueup.watch_sets (stream_id, everything, members, fingerprint) values ($1, true, '{}', 'f') returning id`,
            [streamId],
          )
        )[0]!.id;
      const stream = await openStream(em, {
        networkPassphrase: 'net',
        anchor,
        sandbox: true,
        startLedger: 5,
        watchSet,
      });
      expect(await em.findOneOrFail(StreamEntity, stream.id)).toEqual(stream);
      expect(await readFollower(em, stream.id)).toMatchObject({ nextLedger: 5, processedLedgers: 0n, tipLedger: null });
      await saveTip(em, stream.id, { sequence: 8, closeTime: 1, oldest: 2 });
      expect(await readFollower(em, stream.id)).toMatchObject({ tipLedger: 8, tipClosedAt: new Date(1000) });
      await setStreamState(em, stream.id, 'diverged');
      expect((await currentStream(em, 'net'))?.state).toBe('diverged');
      await setStreamState(em, stream.id, 'retired');
      expect(await currentStream(em, 'net')).toBeNull();
    });
    expect(await test.db.em().count(FollowerEntity)).toBe(1);
  });

  it('page by microseconds: rows of one millisecond come once each, in order', async () => {
    const at = (micros: number) => `2026-01-01T00:00:00.000${String(micros).padStart(3, '0')}Z`;
    const ids = [7, 5, 5, 3, 1].map((micros) => ({ id: randomUUID(), at: at(micros) }));
    for (const [n, { id, at: createdAt }] of ids.entries()) {
      await sql(
        test.db.em(),
        `insert into trueup.reconciliations (id, policy, level, trigger, state, book, trace_id, actor, created_at) values ($1, $2, 'entries', 'manual', 'failed', 'b', 't', 'a', $3)`,
        [id, 'paged', createdAt],
      );
      await sql(
        test.db.em(),
        `insert into trueup.dead_letters (id, job, payload, attempts, error, created_at) values ($1, 'paged', '{"a":1}', $2, 'e', $3)`,
        [id, n, createdAt],
      );
    }
    const wanted = ids
      .sort((a, b) => (a.at === b.at ? (a.id < b.id ? 1 : -1) : a.at < b.at ? 1 : -1))
      .map((each) => each.id);
    const runs: string[] = [];
    const letters: string[] = [];
    for (let after = null, more = true; more;) {
      const page = await listRuns(
        test.db.em(),
        { policy: 'paged', states: ['failed'], verdicts: [] },
        { size: 1, after },
      );
      runs.push(...page.items.map((each) => each.id));
      more = (after = page.next as never) !== null;
    }
    for (let after = null, more = true; more;) {
      const page = await listDeadLetters(test.db.em(), { size: 2, after }, { job: 'paged' });
      letters.push(...page.items.map((each) => each.id));
      more = (after = page.next as never) !== null;
    }
    expect([runs, letters]).toEqual([wanted, wanted]);
    const from = {
      policy: 'paged',
      createdFrom: new Date('2026-01-01T00:00:00Z'),
      createdTo: new Date('2026-01-01T00:00:01Z'),
    };
    expect((await listRuns(test.db.em(), from, { size: 9, after: null })).items).toHaveLength(5);
    expect(
      (await listRuns(test.db.em(), { policy: 'paged', createdTo: from.createdFrom }, { size: 9, after: null })).items,
    ).toEqual([]);
  });

  it('fail in the words that plain statements fail in', async () => {
    const em = test.db.em();
    await sql(em, 'alter table trueup.audit_log rename to elsewhere');
    await expect(em.find(AuditEntity, {})).rejects.toMatchObject({
      reason: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('migrations'),
    });
    await sql(em, 'alter table trueup.elsewhere rename to audit_log');
  });
});
