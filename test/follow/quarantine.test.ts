// Goal: of a ledger that could not be decoded its bytes, its reason and its tries are kept until it can, bounded, and an operator can see them, save
// them and have it read again. Method: the whole service before a far network in memory whose errors bring bytes along, a real client, the command.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { keepPayload } from '../../src/core/raw-payload.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import { commitUnreadable, unreadableBecause } from '../../src/store/coverage.ts';
import { openDatabase, sql, type Database } from '../../src/store/database.ts';
import { QUARANTINE_LIMITS } from '../../src/store/quarantines.ts';
import { startApp, trueup, type RunningApp } from '../_util/app.ts';
import { eventually } from '../_util/eventually.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake } from '../_util/follow.ts';

const ENV = {
  TRUEUP_SOURCE: 'archive',
  STELLAR_ARCHIVE_URL: 'file:///nowhere',
  TRUEUP_WATCH: 'all',
  TRUEUP_START_LEDGER: '1',
};
const POISON = Buffer.from('these bytes are no ledger');
let source: FakeSource;
let app: RunningApp;
let db: Database;
let folder: string;
beforeAll(async () => {
  source = fake();
  for (const ledger of [1, 70, 200]) source.faults.set(ledger, { reason: 'SOURCE_CORRUPT', named: ledger !== 70 });
  const read = source.read.bind(source);
  source.read = (request, signal) =>
    read(request, signal).catch((error: Error) => {
      throw keepPayload(error, { format: 'text', bytes: POISON });
    });
  folder = await mkdtemp(join(tmpdir(), 'trueup-quarantine-'));
  app = await startApp(ENV, { source });
  db = await openDatabase({ url: app.databaseUrl });
  await eventually(async () => expect(await ledgers()).toEqual([1, 70, 200]), 60_000);
});
afterAll(async () => {
  await db.close();
  await app.close();
  await rm(folder, { recursive: true, force: true });
});

async function ledgers(): Promise<number[]> {
  const { quarantines } = await app.client.backfill.listQuarantines({});
  return quarantines.map(({ fromLedger, toLedger }) => (fromLedger === toLedger ? fromLedger : NaN));
}

const cli = (...args: string[]) => trueup([...args, '--server', app.grpc]);

describe('a poison ledger', () => {
  it('is listed with its reason and tries, first, in the middle or last', async () => {
    const { quarantines } = await app.client.backfill.listQuarantines({});
    for (const each of quarantines) {
      expect(each).toMatchObject({ attemptCount: 3, payloadFormat: 'text', payloadKeptBytes: BigInt(POISON.length) });
      expect(each.failure).toMatchObject({ reason: contract.ErrorReason.LEDGER_QUARANTINED });
      expect(each.failure?.message).toContain(`ledger ${each.fromLedger} by order`);
    }
    const first = await app.client.backfill.listQuarantines({ pageSize: 2 });
    expect(first.quarantines).toHaveLength(2);
    const rest = await app.client.backfill.listQuarantines({ pageSize: 2, pageToken: first.nextPageToken });
    expect([rest.quarantines.map(({ fromLedger }) => fromLedger), rest.nextPageToken]).toEqual([[200], '']);
    const { code, out } = await cli('quarantine');
    expect(code).toBe(0);
    expect(out).toMatch(/operations +70 +70 +3 /);
  });

  it('keeps its bytes, for an operator to save', async () => {
    const answer = await app.client.backfill.getQuarantine({ ledger: 70 });
    expect(Buffer.from(answer.payload)).toEqual(POISON);
    const file = join(folder, 'ledger-70');
    expect((await cli('quarantine', 'show', '--ledger', '70', '--out', file)).code).toBe(0);
    expect(await readFile(file)).toEqual(POISON);
    expect((await cli('quarantine', 'show', '--ledger', '70', '--out', file)).code).not.toBe(0);
    await expect(app.client.backfill.getQuarantine({ ledger: 71 })).rejects.toThrow('not set apart');
  });

  it('that is tried again in vain has more tries, and is forgotten once it could be read', async () => {
    expect((await cli('quarantine', 'retry', '--from', '70', '--to', '70')).code).toBe(0);
    await eventually(async () => {
      const { quarantine } = await app.client.backfill.getQuarantine({ ledger: 70 });
      expect(quarantine?.attemptCount).toBe(6);
    }, 60_000);
    await eventually(async () => {
      const { backfills } = await app.client.backfill.listBackfills({});
      expect(backfills.map(({ state }) => state)).toEqual([contract.BackfillState.SUCCEEDED]);
    }, 60_000);
    source.faults.clear();
    const { code, out } = await cli('quarantine', 'retry');
    expect(code).toBe(0);
    expect(out.match(/reads ledgers/g)).toHaveLength(3);
    await eventually(async () => expect(await ledgers()).toEqual([]), 60_000);
    const { ranges } = await app.client.backfill.listCoverage({});
    expect(ranges).toMatchObject([{ fromLedger: 1, toLedger: 200, state: contract.CoverageState.DONE }]);
    expect(await sql(db.em(), 'select 1 from trueup.quarantines')).toEqual([]);
  });
});

describe('what is kept of poison', () => {
  it('is cut at its limit, and no more than so many keep their bytes', async () => {
    const [row] = await sql<{ stream_id: number; watch_set_id: number }>(
      db.em(),
      'select stream_id, watch_set_id from trueup.followers',
    );
    const [label] = await sql<{ id: number }>(db.em(), 'select id from trueup.sources limit 1');
    const target = {
      streamId: row!.stream_id,
      watchSetId: row!.watch_set_id,
      sourceId: label!.id,
      watch: { everything: true, accounts: [], contracts: [] },
    };
    const long = Buffer.alloc(QUARANTINE_LIMITS.maxPayloadBytes + 5, 'x');
    const poison = async (ledger: number, bytes: Buffer): Promise<void> => {
      const error = keepPayload(new TrueUpError('SOURCE_CORRUPT', 'by order'), { format: 'text', bytes });
      const range = { from: ledger, to: ledger + 1 };
      await db
        .em()
        .transactional((em) =>
          commitUnreadable(em, target, ['operations'], range, unreadableBecause(error, 3, 'chained')),
        );
    };
    await poison(1_000, long);
    const { quarantine, payload } = await app.client.backfill.getQuarantine({ ledger: 1_000 });
    expect(quarantine).toMatchObject({
      payloadSizeBytes: BigInt(long.length),
      payloadKeptBytes: BigInt(QUARANTINE_LIMITS.maxPayloadBytes),
    });
    expect(payload).toHaveLength(QUARANTINE_LIMITS.maxPayloadBytes);
    await sql(
      db.em(),
      `insert into trueup.quarantines (stream_id, layer, watch_set_id, from_ledger, to_ledger, source_id, reason, detail, attempts, raw)
       select $1, 0, $2, n, n + 1, $3, '', '', 1, '' from generate_series(2000, $4::int) as n`,
      [target.streamId, target.watchSetId, target.sourceId, 2_000 + QUARANTINE_LIMITS.maxPayloads - 2],
    );
    await poison(5_000, POISON);
    expect((await app.client.backfill.getQuarantine({ ledger: 5_000 })).quarantine).toMatchObject({
      payloadSizeBytes: BigInt(POISON.length),
      payloadKeptBytes: 0n,
      attemptCount: 3,
    });
    // One that has its bytes already may have newer ones.
    await poison(1_000, POISON);
    const again = await app.client.backfill.getQuarantine({ ledger: 1_000 });
    expect([again.quarantine?.attemptCount, Buffer.from(again.payload)]).toEqual([6, POISON]);
  });
});
