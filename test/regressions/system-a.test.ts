// Goal: none of the defects of the scheduled reconciliation backend that TrueUp replaces (System A) is ours. Method: each is tried through the
// public function that could have it; the numbers are those of the list of defects.
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeConfig } from '../../src/config/describe-config.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { parseBookRow } from '../../src/core/book.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import { createReconciliationService } from '../../src/services/reconciliation.ts';
import { keepHouse } from '../../src/services/housekeeping.ts';
import { tendBackfill } from '../../src/services/backfill-steps.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import type { Caller } from '../../src/store/audit.ts';
import { claimChunk } from '../../src/store/backfill-chunks.ts';
import { coverageOf } from '../../src/store/coverage-read.ts';
import { openDatabase, sql } from '../../src/store/database.ts';
import { saveFollowerError } from '../../src/store/streams.ts';
import { createTimetable } from '../../src/store/timetable.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { channelTo, openOutbox } from '../_util/alerts.ts';
import { openBackfills } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openEvidenceHouse } from '../_util/evidence-house.ts';
import { openExportHouse } from '../_util/exports.ts';
import { fake, follow, numbers, reached, stored } from '../_util/follow.ts';
import { failureOf } from '../_util/failure-of.ts';
import { hashAt, openHouse, type House, type HouseOptions } from '../_util/reconcile.ts';
import { quietEvents, testCaller } from '../_util/services.ts';
import { startServing, TOKENS } from '../_util/serving.ts';
import { startWebhookReceiver } from '../_util/webhook-receiver.ts';

const SHOP = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(7) as never);
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const house = (options?: HouseOptions): Promise<House> => openHouse(test.db, options);
const leg = (ledger: number, amount = 100n, more: object = {}) => ({ ledger, account: SHOP, amount, ...more });
const row = (at: House, ledger: number, more: object = {}) => at.row(ledger, { account: SHOP, amount: 100n, ...more });
/** A folder without files. */
const nowhere = {
  cwd: '/srv',
  readFile: (path: string): never => {
    throw Object.assign(new Error(`ENOENT: no such file ${path}`), { code: 'ENOENT' });
  },
};
const once = { attempt: 1, maxAttempts: 2, signal: new AbortController().signal };

describe('System A defect 1: a side that failed became an empty list, then CLEAN, and was never retried', () => {
  it('is INCONCLUSIVE where the source fails, with its words', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 });
    await at.record([], 400, []);
    await at.record([row(at, 10, { status: 'failed' })], 400);
    await saveFollowerError(test.db.em(), at.opened.stream.id, { reason: 'SOURCE_UNAVAILABLE', message: 'HTTP 503' });
    expect(await at.run()).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: {
        inconclusive: [{ reason: 'SOURCE_UNAVAILABLE', message: expect.stringContaining('HTTP 503') as string }],
      },
    });
  });

  it('hands an unreadable book to the queue to be tried again, and says INCONCLUSIVE after the last try', async () => {
    const at = await house({
      book: () => ({ open: () => Promise.reject(new TrueUpError('BOOK_UNREADABLE', 'permission denied')) }),
    });
    await at.ledgers({ from: 1, to: 401 });
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    expect(await failureOf(runReconciliation(at.runDeps, run.id, once))).toMatchObject({
      reason: 'BOOK_UNREADABLE',
      retryable: true,
    });
    expect((await at.service.get(run.id)).verdict).toBeNull();
    await failureOf(runReconciliation(at.runDeps, run.id, { ...once, attempt: 2 }));
    expect((await at.service.get(run.id)).verdict).toBe('INCONCLUSIVE');
  });

  it('never calls it CLEAN that nothing was read at all', async () => {
    const at = await house();
    expect((await at.run()).verdict).toBe('INCONCLUSIVE');
  });
});

describe('System A defect 2: one page of 200, and 5,000 rows at most on the other side', () => {
  it('compares the 5,300th row too', async () => {
    const at = await house();
    const ledgers = Array.from({ length: 5_300 }, (_, i) => i + 1);
    await at.ledgers(
      { from: 1, to: 5_301 },
      ledgers.map((ledger) => leg(ledger)),
    );
    for (const part of [ledgers.slice(0, 4_000), ledgers.slice(4_000)])
      await at.record(
        part.map((ledger) => row(at, ledger, ledger === 4_900 ? { amount: 99n } : {})),
        5_300,
      );
    expect((await at.run()).summary?.counts).toMatchObject({
      ledgerRecords: 5_300,
      bookRecords: 5_300,
      matched: 5_299,
      drifted: 1,
    });
    expect((await at.drifts())[0]).toMatchObject({ matchKey: hashAt(4_900), kinds: ['AMOUNT_MISMATCH'] });
  });
});

describe("System A defect 3: a row's id was joined to a chain hash, the fee was compared as the amount, amounts as text", () => {
  it('joins by the key, whatever the row id; leaves the fee apart; and "100" is "100.0"', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [
      leg(10, 1_000_000_000n),
      leg(10, -100n, { opIndex: 0, kind: 'fee' }),
      leg(20, 1_000_000_000n),
      leg(30, 1_000_000_001n),
    ]);
    const written = ['100', '100.0', '100.0000001'].map((amount, i) =>
      parseBookRow({
        row_id: randomUUID(),
        key: hashAt(10 * (i + 1)),
        account: SHOP,
        asset: 'XLM',
        amount,
        status: 'completed',
        occurred_at: at.timeOf(10).toISOString(),
      }),
    );
    await at.record(written, 400);
    expect(await at.run()).toMatchObject({
      verdict: 'CLEAN',
      summary: { counts: { matched: 3 }, feeTotals: [{ account: SHOP, amount: 100n }] },
    });
  });
});

describe('System A defect 4: silent where the ledger side was empty, blind to duplicates, one difference per record', () => {
  it('accuses a row of an empty ledger that was read whole', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 });
    await at.record([row(at, 10)], 400);
    await at.run();
    expect((await at.drifts()).map((drift) => drift.kinds)).toEqual([['MISSING_ON_LEDGER']]);
  });

  it('sees duplicates on either side, and every difference of a record', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [
      leg(10),
      leg(20),
      leg(20, 100n, { leg: 1 }),
      leg(30, 100n, { counterparty: 'GX' }),
    ]);
    const key = (ledger: number) => ({ key: `${hashAt(ledger)}:1` });
    await at.record(
      [
        row(at, 10, key(10)),
        row(at, 10, key(10)),
        row(at, 20, key(20)),
        row(at, 30, { ...key(30), amount: 1n, kind: 'trade', status: 'failed', counterparty: 'GY' }),
      ],
      400,
    );
    await at.run();
    const kinds = (await at.drifts()).map((drift) => drift.kinds.join()).sort();
    expect(kinds).toEqual(
      [
        'AMOUNT_MISMATCH,TYPE_MISMATCH,STATUS_MISMATCH,ACCOUNT_MISMATCH',
        'DUPLICATE_IN_DB',
        'DUPLICATE_ON_LEDGER',
      ].sort(),
    );
  });
});

describe('System A defect 5: a standing drift was counted again by every run', () => {
  it('counts it once (288 runs: test/reconcile/lifecycle.test.ts)', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20)]);
    await at.record([row(at, 10)], 400);
    for (let run = 0; run < 12; run++) await at.run();
    expect(await at.counted('MISSING_IN_DB')).toBe(1);
  });
});

describe('System A defect 7: the latest summary was lost with the process', () => {
  it('is answered by a process that never ran anything', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [leg(10)]);
    await at.record([row(at, 10)], 400);
    const run = await at.run();
    await using other = await openDatabase({ url: test.url, poolMax: 2 });
    const service = createReconciliationService({
      db: other,
      queue: { send: () => Promise.resolve(null) },
      policies: at.policies,
      networkPassphrase: at.name,
      sandbox: false,
    });
    expect(await service.latest({ policy: at.name, level: null })).toMatchObject({
      id: run.id,
      verdict: 'CLEAN',
      summary: { counts: { matched: 1 } },
    });
    const page = await service.list({ policy: at.name }, { size: 10, after: null });
    expect(page.items.map((item) => item.id)).toEqual([run.id]);
  });
});

describe('System A defect 14: the checksum was not that of the file, verify compared two stored strings', () => {
  it("signs the hash of the artifact's own bytes, and looks at the bytes again whatever the database says", async () => {
    const evidence = await openEvidenceHouse(test.db);
    const text = 'ledger,amount\n1,10\n';
    const id = await evidence.export(text);
    await evidence.log.seal();
    const { record } = await evidence.manifests.get(id);
    expect(record.checksum).toBe(createHash('sha256').update(text).digest('hex'));
    const verify = (checksum: string | null) => evidence.manifests.verify(id, checksum, new AbortController().signal);
    expect(await verify(record.checksum)).toMatchObject({ outcome: 'match', checksumMatch: true });
    expect(await verify('0'.repeat(64))).toMatchObject({ outcome: 'altered', checksumMatch: false });
    // Both stored strings still agree; the bytes do not.
    evidence.artifacts.kept.set(record.artifactId, Buffer.from(text.replace('10', '11')));
    const result = await verify(record.checksum);
    expect(result).toMatchObject({ outcome: 'altered', checksumMatch: true });
    expect(result.actualChecksum).not.toBe(record.checksum);
  });
});

describe('System A defect 15: a cancel was overwritten by completion, and cells could be formulas', () => {
  it('stays cancelled though its rows were written, and leaves no file', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 65 }, [leg(10)]);
    const folder = mkdtempSync(join(tmpdir(), 'trueup-defect-'));
    try {
      const exports = openExportHouse({
        ...{ db: test.db, folder, networkPassphrase: at.name },
        async recordManifest() {
          await exports.service.cancel({ id: started.id, reason: 'at the last moment' }, testCaller);
          return randomUUID();
        },
      });
      const started = await exports.start({ kind: 'entries' });
      await exports.work(started.id);
      expect(await exports.service.get(started.id)).toMatchObject({ state: 'cancelled', manifestId: null });
      expect(exports.files()).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('puts an apostrophe before what a spreadsheet would run', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 65 }, [leg(10, 5n, { subAccount: '=HYPERLINK("https://example.com")' })]);
    const folder = mkdtempSync(join(tmpdir(), 'trueup-defect-'));
    try {
      const exports = openExportHouse({ db: test.db, folder, networkPassphrase: at.name });
      const { bytes } = await exports.exported({ kind: 'entries' });
      expect(bytes.toString()).toContain(`,"'=HYPERLINK(""https://example.com"")",`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('System A defect 9: a backfill did not resume after a restart, and stayed running for ever', () => {
  it('is taken up by whoever comes, from what was committed, also when its worker died with a share in hand', async () => {
    const source = fake({ tip: 2_000 });
    const at = await openBackfills(test.db, source);
    const { id } = await at.start({ from: 1, to: 701 });
    await tendBackfill({ db: test.db, onMoved: () => undefined }, id);
    // Somebody claims a share and is never heard of again.
    expect(await claimChunk(test.db.em(), [source.networkPassphrase], 'a dead process', 100)).not.toBeNull();
    const worker = at.work({ holder: 'after the restart' });
    expect(await at.ended(id)).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 700 } });
    await worker.end();
  });
});

describe('System A defect 10: the start awaited the whole job, errors read as nothing, and results past one page were dropped', () => {
  it('returns while the source has not answered a single read', async () => {
    const source = fake({ tip: 2_000 });
    const gate = Promise.withResolvers<void>();
    source.gate = gate.promise;
    const at = await openBackfills(test.db, source);
    const worker = at.work();
    const { id } = await at.start({ from: 1, to: 701 });
    expect((await at.service.get(id)).progress.scannedLedgers).toBe(0);
    gate.resolve();
    expect((await at.ended(id)).state).toBe('succeeded');
    await worker.end();
  });

  it('takes an error for an error: nothing is covered that was not read', async () => {
    const source = fake({ tip: 2_000 });
    source.faults.set(300, { reason: 'SOURCE_REFUSED', named: false });
    const at = await openBackfills(test.db, source);
    expect(await at.run({ from: 1, to: 701 })).toMatchObject({ state: 'failed', error: { reason: 'SOURCE_REFUSED' } });
    const { done } = await coverageOf(test.db.em(), at.opened.stream.id, 'operations', null);
    expect(done.some((range) => range.from <= 300 && range.to > 300)).toBe(false);
  });

  it('stores the 300th row of a ledger too', async () => {
    const legs = (ledger: number) =>
      Array.from({ length: ledger === 5 ? 300 : 0 }, (_, i) => ({ ledger, leg: i, account: SHOP, amount: 1n }));
    const at = await openBackfills(test.db, fake({ tip: 2_000, entries: legs }));
    expect(await at.run({ from: 1, to: 11 })).toMatchObject({ progress: { insertedEntries: 300n } });
  });
});

describe('System A defect 11: a backfill wrote a marker without the row, and the follower then skipped the event for good', () => {
  it('writes the rows themselves, and neither of the two skips or doubles what the other has', async () => {
    const source = fake({ tip: 200 });
    const at = await openBackfills(test.db, source);
    await at.run({ from: 50, to: 150 });
    const follower = follow(test.db, source);
    await reached(test.db, source, 200);
    await follower.end();
    expect(await stored(test.db, source)).toMatchObject({
      ledgers: numbers({ from: 1, to: 201 }),
      done: [{ from: 1, to: 201 }],
    });
  });
});

describe('System A defect 12: rows and checkpoint in two transactions, progress counted twice, and a key that never ran again', () => {
  it.each(['trueup.entries', 'trueup.coverage_chunks', 'trueup.coverage_islands', 'trueup.backfills'])(
    'keeps all or nothing of a piece where the write breaks at %s, and counts it once',
    async (table) => {
      const source = fake({ tip: 2_000 });
      const at = await openBackfills(test.db, source);
      const em = test.db.em();
      await sql(em, `create sequence breaks`);
      // Twice it breaks, the third time it is let through: a sequence is not rolled back.
      await sql(
        em,
        `create function break_it() returns trigger language plpgsql as $$ begin
           if nextval('breaks') <= 2 then raise 'killed here'; end if; return new; end $$`,
      );
      const counted = table === 'trueup.backfills' ? 'when (old.scanned_ledgers <> new.scanned_ledgers)' : '';
      await sql(
        em,
        `create trigger break_it after ${counted === '' ? 'insert' : 'update'} on ${table} for each row ${counted} execute function break_it()`,
      );
      const done = await at.run({ from: 1, to: 65 }).finally(() => sql(em, 'drop function break_it cascade'));
      await sql(em, 'drop sequence breaks');
      expect(done).toMatchObject({
        state: 'succeeded',
        progress: { scannedLedgers: 64, insertedEntries: 64n, duplicateEntries: 0n },
      });
    },
  );

  it('runs again over the same ledgers, however often', async () => {
    const at = await openBackfills(test.db, fake({ tip: 2_000 }));
    for (const missing of [64, 0, 0])
      expect(await at.run({ from: 1, to: 65 })).toMatchObject({
        state: 'succeeded',
        progress: { missingLedgers: missing },
      });
  });
});

describe('System A defect 13: nobody called the pruning, and the address of the source came from the request', () => {
  it('prunes ended backfills in the hourly housekeeping, by the time of their end', async () => {
    const at = await openBackfills(test.db, fake({ tip: 2_000 }));
    const { id } = await at.run({ from: 1, to: 2 });
    await keepHouse({ db: test.db, backfillRetentionDays: 30 });
    expect((await at.service.get(id)).state).toBe('succeeded');
    await sql(test.db.em(), `update trueup.backfills set completed_at = now() - interval '31 days' where id = $1`, [
      id,
    ]);
    await keepHouse({ db: test.db, backfillRetentionDays: 30 });
    expect(await failureOf(at.service.get(id))).toMatchObject({ reason: 'BACKFILL_NOT_FOUND' });
  });

  it('knows sources by their configured name only', async () => {
    const source = fake({ tip: 2_000 });
    const at = await openBackfills(test.db, source);
    for (const name of ['http://169.254.169.254/latest', 'https://evil.example', 'file:///etc/passwd'])
      expect(await failureOf(at.start({ from: 1, to: 2 }, { source: name }))).toMatchObject({
        reason: 'SOURCE_NOT_FOUND',
      });
    expect(source.reads).toEqual([]);
  });
});

describe('System A defect 16: the requester came from a header, secrets were shown in part', () => {
  it('takes the actor from the token, whatever a header says', async () => {
    const callers: Caller[] = [];
    const start = (_call: unknown, caller: Caller): never => {
      callers.push(caller);
      throw new TrueUpError('POLICY_NOT_FOUND', 'enough');
    };
    await using serving = await startServing({ ports: { reconciliations: { start } } });
    const post = (headers: Record<string, string>) =>
      fetch(`${serving.httpUrl}/trueup.v1.ReconciliationService/StartReconciliation`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ requestId: randomUUID() }),
      });
    const pretended = { 'x-user': 'root', 'x-requester': 'root', 'x-forwarded-user': 'root', 'x-admin-id': 'root' };
    expect((await post(pretended)).status).toBe(401);
    await post({ ...pretended, authorization: `Bearer ${TOKENS.operate}` });
    expect(callers).toMatchObject([{ actor: 'operate-name', role: 'operate' }]);
  });

  it('names the token as the requester of an export', async () => {
    const callers: Caller[] = [];
    const start = (_order: unknown, caller: Caller): never => {
      callers.push(caller);
      throw new TrueUpError('SIGNING_KEY_UNAVAILABLE', 'enough');
    };
    await using serving = await startServing({ ports: { exports: { start } } });
    await fetch(`${serving.httpUrl}/trueup.v1.ManifestService/StartExport`, {
      method: 'POST',
      headers: {
        ...{ 'content-type': 'application/json', 'x-requester': 'root' },
        authorization: `Bearer ${TOKENS.operate}`,
      },
      body: JSON.stringify({ kind: 'EXPORT_KIND_ENTRIES' }),
    });
    expect(callers).toMatchObject([{ actor: 'operate-name' }]);
  });

  it('shows no part of a secret, neither in diagnostics nor in a log line', () => {
    const [password, key] = ['Zq81-wxyz-7788-tail', 'hs_live_AbCd0123456789WxYz'];
    const config = readConfig(
      {
        DATABASE_URL: `postgresql://owner:${password}@db.example:5432/trueup`,
        TRUEUP_SOURCE: 'sandbox',
        HYPERSWITCH_API_KEY: key,
      },
      nowhere,
    );
    const lines: string[] = [];
    const log = createLogger({
      level: 'info',
      name: 'test',
      secrets: [password, key],
      destination: { write: (line) => void lines.push(line) },
    });
    log.info({ url: `https://someone:${password}@host.example/x`, header: `Bearer ${key}` }, `tried ${key}`);
    const shown = JSON.stringify(describeConfig(config)) + lines.join('');
    for (const secret of [password, key])
      for (const part of [secret, secret.slice(0, 4), secret.slice(-4)]) expect(shown).not.toContain(part);
    expect(shown).toContain('host.example');
  });
});

describe('System A defect 18: numbers of the environment were not checked, so that a word gave a 1 ms timer', () => {
  it.each([
    'LEDGER_RECONCILIATION_INTERVAL_MS',
    'RECONCILIATION_WINDOW_HOURS',
    'RECONCILIATION_ALERT_COOLDOWN_MS',
    'CIRCUIT_BREAKER_COOLDOWN_MS',
    'POLL_INTERVAL_SECS',
  ])('refuses to start on %s', (name) => {
    expect(() => readConfig({ TRUEUP_SOURCE: 'sandbox' }, nowhere)).not.toThrow();
    for (const value of ['soon', '-1', 'NaN', 'Infinity', '1e99', '5 min', '0x10', '1.5.2']) {
      expect(() => readConfig({ TRUEUP_SOURCE: 'sandbox', [name]: value }, nowhere), `${name}=${value}`).toThrow(
        expect.objectContaining({ reason: 'INVALID_CONFIGURATION', message: expect.stringContaining(name) as string }),
      );
    }
  });
});

describe('System A defect 19: a gauge that read 0 before the first run looked like drift and like 1970', () => {
  const sampleOf = (body: string, name: string) =>
    body.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));

  it('has no sample before the first run, and a true one after it', async () => {
    const before = (await quietEvents().metrics.render()).body;
    for (const name of ['reconciliation_status', 'reconciliation_last_run_timestamp'])
      expect(sampleOf(before, name)).toEqual([]);
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [leg(10)]);
    await at.record([row(at, 10)], 400);
    const startedAt = Date.now() / 1000;
    await at.run();
    const { body } = await at.metrics.render();
    expect(sampleOf(body, 'reconciliation_status')).toEqual(['reconciliation_status 1']);
    expect(Number(sampleOf(body, 'reconciliation_last_run_timestamp')[0]!.split(' ')[1])).toBeGreaterThanOrEqual(
      Math.floor(startedAt),
    );
  });
});

describe('System A defect 6: cooldown spent before delivery and kept in memory, status unchecked, no resolved notice, rising drift silent', () => {
  it('takes only a 2xx for a delivery, keeps the cooldown over a restart, tells of rising drift and of its end', async () => {
    await using receiver = await startWebhookReceiver();
    await using channel = channelTo(receiver.url);
    const process = () => openOutbox(test.db, { channels: [channel], maxAttempts: 1 });
    let outbox = process();
    const at = await house({ alerts: { noteRun: (...call) => outbox.runs.noteRun(...call) } });
    const told = async () => {
      receiver.received.length = 0;
      await at.run();
      await outbox.deliver();
      return receiver.received.map(({ body }) => (JSON.parse(body) as { type: string }).type);
    };
    await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20)]);
    await at.record([row(at, 10)], 400);
    expect(await told()).toEqual([]);
    // Each of these is an answer, and none of them a delivery: the next run tells again.
    for (const status of [500, 404, 302, 400]) {
      receiver.answer(status);
      expect(await told()).toEqual(['alert.drift_detected']);
    }
    expect(await told()).toEqual(['alert.drift_detected']);
    outbox = process();
    expect(await told()).toEqual([]);
    await at.record([row(at, 10, { rowId: 'again' })], 400);
    expect([await told(), await told(), await told()]).toEqual([[], ['alert.drift_rising'], []]);
    await at.record([row(at, 20), row(at, 10, { rowId: 'again', amount: null, retracted: true })], 400);
    expect([await told(), await told(), await told()]).toEqual([[], ['alert.resolved'], []]);
  });
});

describe('System A defect 8: no overlap guard and no leader, so that two replicas ran the same tick', () => {
  it('makes one run of a tick on two replicas, one effect of two workers, and no tick while it is under way', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20)]);
    await at.record([row(at, 10)], 400);
    const ticks: unknown[] = [];
    const replica = () =>
      createTimetable(test.db, {
        send: (_em, job, payload) => {
          ticks.push([job, payload['policy']]);
          return Promise.resolve('job');
        },
      });
    const schedule = { name: at.name, job: 'reconcile', policy: at.name, intervalMs: 300_000, enabled: true };
    await replica().declare([schedule]);
    expect((await Promise.all([replica().claimDue(), replica().claimDue()])).sort()).toEqual([0, 1]);
    expect(ticks).toEqual([['reconcile', at.name]]);
    // Also where both are handed it.
    const [one, other] = await Promise.all([1, 2].map(() => at.service.runOfTick(at.name, `${at.name} at noon`)));
    expect(one!.id).toBe(other!.id);
    expect(await at.service.runOfTick(at.name, `${at.name} at five past noon`)).toBeNull();
    await Promise.allSettled([1, 2].map(() => runReconciliation(at.runDeps, one!.id, once)));
    await runReconciliation(at.runDeps, one!.id, { ...once, attempt: 2 });
    expect(await at.service.get(one!.id)).toMatchObject({ state: 'succeeded', summary: { counts: { drifted: 1 } } });
    expect((await at.drifts()).length).toBe(1);
    expect(await at.counted('MISSING_IN_DB')).toBe(1);
  });
});
