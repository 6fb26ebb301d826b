// Goal: a run over two sides of the user's, or over balances, goes on where it stopped as long as what it compares is still the same, and
// begins anew as soon as it isn't; it never mixes two moments. Method: runs that are broken off after a segment; the sides
// are left alone, or change meanwhile.
import { StrKey } from '@stellar/stellar-sdk';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Book } from '../../src/core/book.ts';
import type { Policy } from '../../src/core/policy.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { createFileSide } from '../../src/sources/side-file.ts';
import { sql } from '../../src/store/database.ts';
import type { StoredRun } from '../../src/store/runs.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';
import { below, randomFrom } from '../_util/random.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { breaking, type BreakOff } from './_breaking.ts';
import { killedRun } from './_killed-run.ts';

const ACCOUNT = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(1) as never);
const ROWS = 150;
const SEGMENT_KEYS = 20;
const never = new AbortController().signal;
let own: TestDatabase;
let users: TestDatabase;
let folder: string;

beforeAll(async () => {
  own = await createTestDatabase();
  users = await createTestDatabase({ migrated: false });
  for (const table of ['theirs', 'ours'])
    await write(
      `create table ${table} (row_id text, key text, account text, sub_account text, asset text, amount_minor numeric, occurred_at timestamptz)`,
    );
  folder = await mkdtemp(join(tmpdir(), 'trueup-resume-'));
});
afterAll(async () => {
  await own.drop();
  await users.drop();
  await rm(folder, { recursive: true });
});

const write = (statement: string) => onAdminConnection(users.url, (client) => client.query(statement));
const table = (name: string): Book => createPostgresBook({ url: users.url, query: `select * from ${name}` });

/** Every seventh amount is off by one, every eleventh row missing, two are in the book alone. */
beforeEach(() =>
  write(`
    truncate theirs, ours;
    insert into theirs select 't' || i, lpad(i::text, 3, '0'), '${ACCOUNT}', 'sub', 'native', i, now() - interval '5 hours'
      from generate_series(1, ${ROWS}) as i;
    insert into ours select 'o' || i, lpad(i::text, 3, '0'), '${ACCOUNT}', 'sub', 'native', i + (i % 7 = 0)::int, now() - interval '5 hours'
      from generate_series(1, ${ROWS + 2}) as i where i % 11 <> 0`),
);

/** A house over two sides, whose book breaks off as it is told. */
async function sides(policy: Partial<Policy>, after: BreakOff, asked: (string | null)[] = [], book = table('ours')) {
  const external = { kind: 'external', type: 'postgres', immutable: false } as const;
  const house = await openHouse(own.db, {
    // With a window both sides are read in order.
    policy: {
      ledger: { ...external, name: 'theirs' },
      book: { ...external, name: 'ours' },
      windowHours: 24,
      ...policy,
    },
    book: () => breaking(book, after, asked),
  });
  Object.assign(house.runDeps, { ledgerOf: () => table('theirs'), spillFolder: folder, segmentKeys: SEGMENT_KEYS });
  return house;
}

async function attempt(house: House, run: Pick<StoredRun, 'id'>, number: number): Promise<StoredRun> {
  await runReconciliation(house.runDeps, run.id, { attempt: number, maxAttempts: 9, signal: never });
  return (await house.service.get(run.id)) as StoredRun;
}

const begun = async (house: House) => (await house.service.runOfTick(house.name, `${house.name} tick`))!;

async function lastKey(run: Pick<StoredRun, 'id'>): Promise<string | null | undefined> {
  const [row] = await sql<{ after_key: string | null }>(
    own.db.em(),
    `select after_key from trueup.run_checkpoints where run_id = $1`,
    [run.id],
  );
  return row?.after_key;
}

/** What a run said, without what names its house. */
async function resultOf(house: House, run: StoredRun) {
  const drifts = (await house.drifts()).map(({ matchKey, occurrence, kinds, fields, firstRunId }) => {
    return { matchKey, occurrence, kinds, fields, isOfThisRun: firstRunId === run.id };
  });
  return { verdict: run.verdict, counts: run.summary!.counts, drifts };
}

describe('a run over two sides whose worker dies', () => {
  const kinds = ['a table', 'a file'] as const;

  it.each(kinds)('goes on after its last segment where both sides, %s one of them, are as they were', async (kind) => {
    const book = kind === 'a file' ? await fileOfOurs() : table('ours');
    const undisturbed = await sides({}, { rows: null }, [], book);
    const wanted = await resultOf(undisturbed, await attempt(undisturbed, await begun(undisturbed), 1));
    expect(wanted.counts).toMatchObject({ matched: 117, drifted: 35 });
    const after: BreakOff = { rows: 50 };
    const asked: (string | null)[] = [];
    const house = await sides({}, after, asked, book);
    const run = await begun(house);
    const seen: (string | null | undefined)[] = [];
    for (let number = 1; number <= 2; number++) {
      await expect(attempt(house, run, number)).rejects.toThrow('the worker dies');
      seen.push(await lastKey(run));
    }
    after.rows = null;
    expect(await resultOf(house, await attempt(house, run, 3))).toEqual(wanted);
    // Each attempt asked for what comes after the last segment, and for nothing before it.
    expect(asked).toEqual([null, `${seen[0]}\u0001`, `${seen[1]}\u0001`]);
    expect(new Set(seen).size).toBe(2);
  });

  it.each([
    ['a row that was compared already', `update theirs set amount_minor = 1000 where key = '003'`, '003'],
    ['a row that was not', `delete from ours where key = '149'`, '149'],
    ['a column that no rule compares', `update ours set occurred_at = occurred_at - interval '1 second'`, null],
  ])('begins anew, at a new cut, where %s has changed', async (_, change, key) => {
    const after: BreakOff = { rows: 50 };
    const asked: (string | null)[] = [];
    const house = await sides({}, after, asked);
    const run = await begun(house);
    await expect(attempt(house, run, 1)).rejects.toThrow('the worker dies');
    expect(await lastKey(run)).not.toBeNull();
    await write(change);
    after.rows = null;
    await attempt(house, run, 2);
    expect(asked).toEqual([null, null]);
    const drifts = (await house.drifts()).map(({ matchKey }) => matchKey);
    expect(drifts.includes(key ?? '')).toBe(key !== null);
    expect(drifts.length).toBe(35 + (key === null ? 0 : 1));
  });

  it.each(['operation', 'sub_account'] as const)(
    'by kill -9 at any statement, ends in the digest of an undisturbed one: %s',
    async (join) => {
      const house = await sides({ join }, { rows: null });
      const undisturbed = await attempt(house, await begun(house), 1);
      const random = randomFrom(cases(1).seed ?? 1);
      const statements = (await work(0, (await tick())!.id)).statements!;
      const { numRuns } = cases(3);
      for (let kill = 0; kill <= numRuns; kill++) {
        const { id } = (await tick())!;
        // The first one dies as it is about to keep its third segment, so that there is something to go on from.
        const killAt = kill === 0 ? 3 : 1 + below(random, statements);
        const { signal } = await work(killAt, id, kill === 0 ? 'update trueup.run_checkpoints' : '');
        if (kill === 0) expect([signal, await lastKey({ id })]).toEqual(['SIGKILL', expect.any(String)]);
        const run = await attempt(house, { id }, 2);
        expect(run.summary!.resultDigest, `killed at ${killAt} of ${statements}`).toBe(
          undisturbed.summary!.resultDigest,
        );
      }

      function tick() {
        return house.service.runOfTick(house.name, `${house.name} ${Math.floor(random() * 2 ** 32)}`);
      }
      function work(killAt: number, runId: string, counted = '') {
        const { policy } = house;
        const query = (name: string) => `select * from ${name}`;
        const outside = { url: users.url, ledger: query('theirs'), book: query('ours') };
        return killedRun({
          url: own.url,
          policy,
          runId,
          killAt,
          counted,
          afterSending: false,
          outside,
          segmentKeys: SEGMENT_KEYS,
        });
      }
    },
    600_000,
  );
});

/** What `ours` holds, as a file. */
async function fileOfOurs(): Promise<Book> {
  const lines = await onAdminConnection(users.url, async (client) => {
    const columns = 'key, account, asset, amount_minor::text as amount_minor, occurred_at';
    return (await client.query<object>(`select ${columns} from ours order by random()`)).rows;
  });
  const path = join(folder, 'ours.jsonl');
  await writeFile(path, lines.map((line) => JSON.stringify(line)).join('\n'));
  return createFileSide({ path, format: 'jsonl', spillFolder: folder });
}

describe('a run over balances whose worker dies', () => {
  const accounts = Array.from({ length: ROWS }, (_, i) => `G${String(i).padStart(3, '0')}`);

  /** Every seventh balance of the book is off by one. */
  async function balances(after: BreakOff): Promise<House> {
    const house = await openHouse(own.db, { level: 'balances', book: (recorded) => breaking(recorded, after) });
    Object.assign(house.runDeps, { segmentKeys: SEGMENT_KEYS });
    const legs = accounts.map((account, i) => ({ ledger: i + 1, account, amount: BigInt(i + 1) }));
    await house.ledgers({ from: 1, to: 401 }, legs);
    const stated = legs.map(({ account, amount }, i) => ({
      account,
      asset: 'native',
      amount: i % 7 === 0 ? amount + 1n : amount,
      asOfLedger: 0,
    }));
    await house.record([], 400, stated);
    return house;
  }

  it('goes on after its last segment at the same cut, whatever the ledger has read since', async () => {
    const undisturbed = await balances({ rows: null });
    const wanted = await resultOf(undisturbed, await attempt(undisturbed, await begun(undisturbed), 1));
    expect(wanted.counts).toMatchObject({ matched: 128, drifted: 22 });
    const after: BreakOff = { rows: 50 };
    const house = await balances(after);
    const run = await begun(house);
    await expect(attempt(house, run, 1)).rejects.toThrow('the worker dies');
    expect(await lastKey(run)).toBe(`${accounts[39]}|native`);
    await house.ledgers({ from: 401, to: 501 }, [{ ledger: 450, account: accounts[100]!, amount: 5n }]);
    after.rows = null;
    const resumed = await attempt(house, run, 2);
    expect(resumed.summary!.cut!.ledger).toBe(400);
    expect(await resultOf(house, resumed)).toEqual(wanted);
  });

  it('begins anew where its book was written meanwhile', async () => {
    const after: BreakOff = { rows: 50 };
    const house = await balances(after);
    const run = await begun(house);
    await expect(attempt(house, run, 1)).rejects.toThrow('the worker dies');
    await house.record([], 400, [{ account: accounts[0]!, asset: 'native', amount: 1n, asOfLedger: 0 }]);
    after.rows = null;
    const again = await attempt(house, run, 2);
    expect(again.summary!.counts).toMatchObject({ matched: 129, drifted: 21 });
  });
});
