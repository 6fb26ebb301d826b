// Goal: two tables, or a table and a file, are compared without a stream, and neither side's silence ever counts as agreement.
// Method: two real tables of the user's and files on disk, as trueup.yaml names them; runs as the queue would start them.
import { StrKey } from '@stellar/stellar-sdk';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Book } from '../../src/core/book.ts';
import type { Policy } from '../../src/core/policy.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { createFileSide } from '../../src/sources/side-file.ts';
import { skippedKeys } from '../../src/store/skipped.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';
import { below, chance, pick, randomFrom } from '../_util/random.ts';
import { hashAt, openHouse, type House } from '../_util/reconcile.ts';

const [A, B] = [1, 2].map((byte) => StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(byte) as never)) as [
  string,
  string,
];
const HOUR_MS = 3_600_000;
let own: TestDatabase;
let users: TestDatabase;
let folder: string;

beforeAll(async () => {
  own = await createTestDatabase();
  users = await createTestDatabase({ migrated: false });
  for (const table of ['processor', 'ours'])
    await onAdminConnection(users.url, (client) =>
      client.query(
        `create table ${table} (row_id text, key text, account text, sub_account text, asset text, amount_minor numeric, kind text,
           status text, occurred_at timestamptz)`,
      ),
    );
  folder = await mkdtemp(join(tmpdir(), 'trueup-sides-'));
});
beforeEach(() => onAdminConnection(users.url, (client) => client.query('truncate processor, ours')));
afterEach(async () => {
  // Whatever was sorted on disk is gone with the run.
  expect((await readdir(folder)).filter((name) => name.endsWith('.run'))).toEqual([]);
});
afterAll(async () => {
  await own.drop();
  await users.drop();
  await rm(folder, { recursive: true });
});

interface Row {
  readonly key: string;
  readonly amount: bigint | number;
  readonly account?: string;
  readonly sub?: string | null;
  readonly kind?: string;
  readonly status?: string;
  /** Hours ago. */
  readonly age?: number | null;
}

const at = (age: number): string => new Date(Date.now() - age * HOUR_MS).toISOString();

async function fill(table: 'processor' | 'ours', rows: readonly Row[]): Promise<void> {
  await onAdminConnection(users.url, (client) =>
    client.query(
      `insert into ${table} select (r->>'id'), r->>'key', r->>'account', r->>'sub', 'native', (r->>'amount')::numeric, r->>'kind',
         r->>'status', (r->>'at')::timestamptz from jsonb_array_elements($1::jsonb) as r`,
      [
        JSON.stringify(
          rows.map((row, i) => ({
            account: A,
            ...row,
            id: `${table}-${row.key}-${i}`,
            amount: String(row.amount),
            at: row.age === null ? null : at(row.age ?? 5),
          })),
        ),
      ],
    ),
  );
}

const table = (name: string): Book => createPostgresBook({ url: users.url, query: `select * from ${name}` });

function file(name: string, limits = { maxRowsInMemory: 50_000, maxRunFiles: 100, maxSpillBytes: 1e9 }): Book {
  const format = name.endsWith('.csv') ? 'csv' : 'jsonl';
  return createFileSide({ path: join(folder, name), format, spillFolder: folder, spillLimits: limits });
}

/** A house whose policy compares `processor` (a table) with another side. */
async function house(policy: Partial<Policy> = {}, book: Book = table('ours')): Promise<House> {
  const external = { kind: 'external', type: 'postgres', immutable: false } as const;
  const opened = await openHouse(own.db, {
    policy: {
      ledger: { ...external, name: 'processor' },
      book: { ...external, name: 'ours' },
      windowHours: null,
      ...policy,
    },
    book: () => book,
  });
  Object.assign(opened.runDeps, { ledgerOf: () => table('processor'), spillFolder: folder });
  return opened;
}

/** Notes what is asked of a side; `plain` hides that its server can digest. */
const watched = (book: Book, asked: string[], plain = false): Book => ({
  async open(level, signal, position) {
    const side = await book.open(level, signal, position);
    return new Proxy(side, {
      has: (target, name) => !(plain && name === 'digests') && name in target,
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (name === 'entries' || name === 'chosen') asked.push(name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  },
});

/** What a run says, and what it read for that; `plain`: without digests. */
const compared = async (policy: Partial<Policy>, plain: boolean, book = table('ours'), ledger = table('processor')) => {
  const asked: string[] = [];
  const opened = await house(policy, watched(book, asked, plain));
  Object.assign(opened.runDeps, { ledgerOf: () => watched(ledger, asked, plain) });
  const { verdict, summary } = await opened.run();
  const drifts = await opened.drifts();
  return {
    asked,
    verdict,
    counts: summary!.counts,
    absorbed: summary!.toleranceAbsorbed,
    drifts: drifts.map(({ matchKey, occurrence, kinds, fields }) => ({ matchKey, occurrence, kinds, fields })),
  };
};

const reasonsOf = (run: { summary: { inconclusive: readonly { reason: string; side: string | null }[] } | null }) =>
  run.summary!.inconclusive.map(({ reason, side }) => `${reason} ${side}`);
const many = (count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ key: `pay-${(i * 7919) % count}`, amount: i * 3 + 1 }));

describe('two tables', () => {
  test('that agree are CLEAN, and say what they were', async () => {
    await fill('processor', many(1_200));
    await fill('ours', many(1_200).reverse());
    const run = await (await house()).run();
    expect(run).toMatchObject({ verdict: 'CLEAN', stream: 'processor', book: 'ours' });
    expect(run.summary).toMatchObject({
      join: 'operation',
      window: null,
      counts: { ledgerRecords: 1200, bookRecords: 1200, matched: 1200, pending: 0, skipped: 0 },
      sides: { ledger: { complete: true }, book: { complete: true } },
    });
  });

  test('differ in every way that there is, each named, and agree again once both were corrected', async () => {
    await fill('processor', [
      { key: 'equal', amount: 5 },
      { key: 'amount', amount: 10 },
      { key: 'status', amount: 1, status: 'succeeded' },
      { key: 'kind', amount: 1, kind: 'payout' },
      { key: 'account', amount: 1 },
      { key: 'only-theirs', amount: 7 },
      { key: 'twice', amount: 3 },
    ]);
    await fill('ours', [
      { key: 'equal', amount: 5 },
      { key: 'amount', amount: 9 },
      { key: 'status', amount: 1, status: 'failed' },
      { key: 'kind', amount: 1, kind: 'refund' },
      { key: 'account', amount: 1, account: B },
      { key: 'only-ours', amount: 7 },
      { key: 'twice', amount: 3 },
      { key: 'twice', amount: 3 },
    ]);
    const opened = await house();
    expect((await opened.run()).verdict).toBe('DRIFT_DETECTED');
    expect((await opened.drifts()).map(({ matchKey, kinds }) => [matchKey, ...kinds])).toEqual([
      ['account', 'ACCOUNT_MISMATCH'],
      ['amount', 'AMOUNT_MISMATCH'],
      ['kind', 'TYPE_MISMATCH'],
      ['only-ours', 'MISSING_ON_LEDGER'],
      ['only-theirs', 'MISSING_IN_DB'],
      ['status', 'STATUS_MISMATCH'],
      ['twice', 'DUPLICATE_IN_DB'],
    ]);
    await onAdminConnection(users.url, (client) =>
      client.query('truncate ours; insert into ours select * from processor'),
    );
    expect((await opened.run()).verdict).toBe('CLEAN');
    expect((await opened.drifts({ states: ['open'] })).length).toBe(0);
  });

  test('prove nothing where one is empty or their keys never meet', async () => {
    const opened = await house();
    expect(reasonsOf(await opened.run())).toEqual(['LEDGER_EMPTY ledger', 'BOOK_EMPTY book']);
    await fill('processor', [{ key: 'a', amount: 1 }]);
    const empty = await opened.run();
    expect([empty.verdict, reasonsOf(empty)]).toEqual(['INCONCLUSIVE', ['BOOK_EMPTY book']]);
    await fill('ours', [{ key: 'b', amount: 1 }]);
    expect(reasonsOf(await opened.run())).toEqual(['KEYS_DISJOINT null']);
    expect(await opened.drifts()).toEqual([]);
  });

  test('wait for what is young, and look back as far as the policy says, meeting by key what lies outside', async () => {
    await fill('processor', [
      { key: 'met', amount: 1, age: 2 },
      { key: 'late', amount: 1, age: 2 },
      { key: 'young', amount: 1, age: 0.01 },
      { key: 'old', amount: 1, age: 50 },
    ]);
    await fill('ours', [
      { key: 'met', amount: 1, age: 2 },
      { key: 'late', amount: 1, age: 90 },
    ]);
    const opened = await house({ windowHours: 24 });
    const run = await opened.run();
    expect(run.verdict).toBe('CLEAN');
    expect(run.summary!.counts).toMatchObject({ matched: 2, pending: 1 });
    expect((await (await house({ windowHours: null })).run()).verdict).toBe('DRIFT_DETECTED');
  });

  test('sum the legs of a transaction where the key is its hash', async () => {
    await fill('processor', [
      { key: hashAt(1), amount: 60 },
      { key: hashAt(1), amount: 40 },
    ]);
    await fill('ours', [{ key: hashAt(1), amount: 100 }]);
    const run = await (await house()).run();
    expect([run.verdict, run.summary!.join]).toEqual(['CLEAN', 'tx_hash']);
  });

  test('without keys meet by sub-account and amount, each payment with the nearest of its like', async () => {
    await fill('processor', [
      { key: 'x', amount: 50, sub: 'tenant-1', age: 48 },
      { key: 'y', amount: 50, sub: 'tenant-1', age: 24 },
      { key: 'z', amount: 70, sub: 'tenant-2', age: 24 },
    ]);
    await fill('ours', [
      { key: '', amount: 50, sub: 'tenant-1', age: 24.1 },
      { key: '', amount: 71, sub: 'tenant-2', age: 24 },
    ]);
    const opened = await house({ join: 'sub_account' });
    const run = await opened.run();
    expect(run.summary).toMatchObject({ join: 'sub_account', counts: { matched: 1 } });
    const drifts = await opened.drifts();
    expect(
      drifts.map(({ kinds, ledgerSide, bookSide }) => [kinds[0], ledgerSide?.rowIds[0], bookSide?.amount]),
    ).toEqual([
      ['MISSING_IN_DB', 'processor-x-0', undefined],
      ['MISSING_IN_DB', 'processor-z-2', undefined],
      ['MISSING_ON_LEDGER', undefined, 71n],
    ]);
  });
});

describe('what a policy accepts', () => {
  test('by its tolerance counts as equal, and is totalled per asset', async () => {
    await fill('processor', [
      { key: 'a', amount: 1_000 },
      { key: 'b', amount: 1_000 },
      { key: 'c', amount: 1_000 },
    ]);
    await fill('ours', [
      { key: 'a', amount: 1_000 },
      { key: 'b', amount: 990 },
      { key: 'c', amount: 989 },
    ]);
    const opened = await house({ amountTolerances: [{ asset: '*', minor: null, basisPoints: 100 }] });
    const run = await opened.run();
    expect(run.summary!.toleranceAbsorbed).toEqual([{ asset: 'native', amount: 10n, count: 1 }]);
    expect((await opened.drifts()).map(({ matchKey }) => matchKey)).toEqual(['c']);
  });

  test('by an exemption is counted apart until the day it ends, and then stands open again', async () => {
    await fill('processor', [
      { key: 'a', amount: 1 },
      { key: 'b', amount: 1 },
    ]);
    await fill('ours', [{ key: 'a', amount: 1 }]);
    const exemption = { match: { key: 'b' }, reason: 'known since the migration', owner: 'ledger team' };
    const opened = await house({ exemptions: [{ ...exemption, expiresAt: new Date(Date.now() + HOUR_MS) }] });
    const exempt = await opened.run();
    expect([exempt.verdict, exempt.summary!.counts!.exempt, exempt.summary!.counts!.drifted]).toEqual(['CLEAN', 1, 0]);
    expect(exempt.summary!.counts!.appeared).toBe(0);
    expect(await opened.drifts()).toMatchObject([
      { state: 'exempt', reason: 'known since the migration', owner: 'ledger team' },
    ]);
    expect((await opened.run()).verdict).toBe('CLEAN');
    const over: Policy = { ...opened.policy, exemptions: [{ ...exemption, expiresAt: new Date(Date.now() - 1) }] };
    opened.policies.set(opened.name, over);
    const after = await opened.run();
    expect([after.verdict, after.summary!.counts!.drifted]).toEqual(['DRIFT_DETECTED', 1]);
    expect(after.summary!.notes).toEqual([expect.stringMatching(/an exemption ended on .*known since the migration/)]);
    expect(await opened.drifts()).toMatchObject([{ state: 'open', reason: null, owner: null, exemptUntil: null }]);
  });
});

describe('a table and a file', () => {
  const lines = (rows: readonly Row[]): string =>
    rows
      .map(({ key, amount, age }) =>
        JSON.stringify({ key, account: A, asset: 'native', amount_minor: String(amount), occurred_at: at(age ?? 5) }),
      )
      .join('\n');

  test('agree also where the file is in no order and larger than what is held at once', async () => {
    await fill('processor', many(2_000));
    await writeFile(join(folder, 'rows.jsonl'), lines(many(2_000)));
    const small = { maxRowsInMemory: 150, maxRunFiles: 100, maxSpillBytes: 1e9 };
    for (const windowHours of [null, 24]) {
      const run = await (await house({ windowHours }, file('rows.jsonl', small))).run();
      expect(run.verdict).toBe('CLEAN');
      expect(run.summary!.counts).toMatchObject({ matched: 2_000, bookRecords: 2_000 });
    }
  });

  test('differ by what the file lacks, and are compared anew when it is replaced', async () => {
    await fill('processor', many(300));
    await writeFile(join(folder, 'lacking.jsonl'), lines(many(300).slice(1)));
    const opened = await house({}, file('lacking.jsonl'));
    expect((await opened.run()).verdict).toBe('DRIFT_DETECTED');
    expect(await opened.drifts()).toMatchObject([{ matchKey: 'pay-0', kinds: ['MISSING_IN_DB'] }]);
    await writeFile(join(folder, 'lacking.jsonl'), lines(many(300)));
    expect((await opened.run()).verdict).toBe('CLEAN');
  });

  test('are INCONCLUSIVE for a file that is old, spoilt, absent or too large to sort, and accuse nobody', async () => {
    await fill('processor', many(300));
    const path = join(folder, 'old.jsonl');
    await writeFile(path, lines(many(300).slice(2)));
    const longAgo = new Date(Date.now() - 30 * HOUR_MS);
    await utimes(path, longAgo, longAgo);
    const old = await house({}, file('old.jsonl'));
    expect(reasonsOf(await old.run())).toEqual(['BOOK_STALE book']);
    expect(await old.drifts()).toEqual([]);
    await writeFile(
      join(folder, 'spoilt.csv'),
      `key,account,asset,amount\na,${A},native,12.5\nb,${A},native,1.00000001\n`,
    );
    const spoilt = await (await house({}, file('spoilt.csv'))).run({ trigger: 'manual' });
    expect(reasonsOf(spoilt)).toEqual(['BOOK_UNREADABLE book']);
    expect(spoilt.summary!.inconclusive[0]!.message).toMatch(
      /file spoilt\.csv: line 3: amount .*has more than 7 decimals/,
    );
    const absent = await (await house({}, file('absent.csv'))).run({ trigger: 'manual' });
    expect(reasonsOf(absent)).toEqual(['BOOK_UNREADABLE book']);
    await writeFile(join(folder, 'large.jsonl'), lines(many(300)));
    const few = { maxRowsInMemory: 10, maxRunFiles: 3, maxSpillBytes: 1e9 };
    // A window has to be met key by key: digests of the whole file say nothing of it.
    const large = await (await house({ windowHours: 24 }, file('large.jsonl', few))).run({ trigger: 'manual' });
    expect(large.summary!.inconclusive).toMatchObject([
      {
        ...{ reason: 'LIMIT_REACHED', side: null },
        message: expect.stringMatching(/need more than 3 run files/) as string,
        fix: expect.stringMatching(/^narrow the side/) as string,
      },
    ]);
  });
});

describe('a table that its server digests, and a file', () => {
  /** Rows of the file: as in the table, or each otherwise written or otherwise wrong. */
  const rewritten: readonly ((row: Record<string, string>) => Record<string, string>[])[] = [
    (row) => [row],
    (row) => [{ ...row, amount: `${row['amount']}000` }],
    (row) => [{ ...row, asset: 'XLM' }],
    (row) => [{ ...row, status: row['status']!.toUpperCase() }],
    (row) => [{ ...row, kind: '' }],
    (row) => [{ ...row, kind: 'refund' }],
    (row) => [{ ...row, status: 'failed' }],
    (row) => [{ ...row, amount: row['amount']!.replace(/^-?/, (sign) => (sign === '' ? '-' : '')) }],
    (row) => [{ ...row, amount: `${row['amount']!.slice(0, -1)}5` }],
    (row) => [{ ...row, account: B }],
    (row) => [{ ...row, account: MUXED, sub_account: '' }],
    (row) => [{ ...row, sub_account: '7' }],
    (row) => [{ ...row, key: `${row['key']} other` }],
    (row) => [row, row],
    () => [],
  ];
  const MUXED = StrKey.encodeMed25519PublicKey(Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(8, 7)]) as never);

  test.each([
    ['with every column', ['key', 'account', 'sub_account', 'asset', 'amount', 'kind', 'status']],
    ['without what the file could say of more', ['key', 'account', 'asset', 'amount', 'status']],
    ['with amounts in minor units', ['key', 'account', 'asset', 'amount_minor', 'kind', 'status']],
  ])('are judged as if all had been read, %s', async (_, columns) => {
    const { numRuns, seed = 1 } = cases(2);
    for (let run = 0; run < numRuns; run++) {
      const random = randomFrom(seed + run);
      await fill(
        'processor',
        Array.from({ length: 600 }, (__, i) => ({
          key: `${i % 5 === 0 ? 'Größe' : 'pay'}-${i}`,
          amount: BigInt(below(random, 2 ** 31)) * 10n ** BigInt(below(random, 12)) - 10n ** 9n,
          kind: pick(random, ['Payout', 'payment']),
          status: pick(random, ['Completed', 'failed', 'paid']),
          sub: pick(random, [null, '7']),
        })),
      );
      const rows = await onAdminConnection(users.url, (client) =>
        client.query<Record<string, string>>(
          `select key, account, coalesce(sub_account, '') as sub_account, asset, (amount_minor * 0.0000001)::text as amount, kind, status
           from processor order by md5(key)`,
        ),
      );
      const header = ['key', 'account', 'sub_account', 'asset', 'amount', 'kind', 'status'];
      const lines = rows.rows
        .flatMap((row) => (chance(random, 0.2) ? pick(random, rewritten)(row) : [row]))
        .map((row) => header.map((name) => row[name]).join(','));
      await writeFile(join(folder, 'digested.csv'), [header.join(','), ...lines].join('\n'));
      const query = `select ${columns.join(', ').replace('amount,', '(amount_minor * 0.0000001) as amount,')} from processor`;
      const theirs = (): Book => createPostgresBook({ url: users.url, query });
      const [digested, plainly] = [
        await compared({}, false, file('digested.csv'), theirs()),
        await compared({}, true, file('digested.csv'), theirs()),
      ];
      const where = `seed ${seed + run}`;
      expect(digested.drifts.length, where).toBeGreaterThan(20);
      expect({ ...digested, asked: null }, where).toEqual({ ...plainly, asked: null });
      await onAdminConnection(users.url, (client) => client.query('truncate processor'));
    }
  });

  test('that agree are not put in order, and nothing of them is read but the file, once', async () => {
    await fill('processor', many(3_000));
    const csv = many(3_000).map(({ key, amount }) => `${key},${A},native,${amount}`);
    await writeFile(join(folder, 'alike.csv'), ['key,account,asset,amount_minor', ...csv.reverse()].join('\n'));
    const limits = { maxRowsInMemory: 1, maxRunFiles: 0, maxSpillBytes: 0 };
    const query = 'select key, account, asset, amount_minor from processor';
    const { asked, verdict, counts } = await compared(
      {},
      false,
      file('alike.csv', limits),
      createPostgresBook({ url: users.url, query }),
    );
    expect([verdict, asked]).toEqual(['CLEAN', []]);
    expect(counts).toMatchObject({ ledgerRecords: 3_000, bookRecords: 3_000, matched: 3_000 });
  });
});

describe('what the stream cannot answer yet', () => {
  test('waits by name, and is judged by a later run although its window has gone on', async () => {
    const opened = await openHouse(own.db, { startLedger: 1000, policy: { windowHours: 1 } });
    await opened.ledgers({ from: 1000, to: 1500 });
    await opened.tip(1499);
    const row = opened.row(1000, { account: A, amount: 5n, key: hashAt(990), occurredAt: opened.timeOf(1100) });
    await opened.record([row], 1499);
    const skipping = await opened.run();
    expect(skipping.summary!.counts).toMatchObject({ skipped: 1 });
    expect(await skippedKeys(own.db.em(), opened.name, null, 10)).toEqual([hashAt(990)]);
    // The missing ledgers are read, and the window has left the row behind.
    await opened.ledgers({ from: 900, to: 1000 }, [{ ledger: 990, account: A, amount: 5n }], { follow: false });
    await opened.ledgers({ from: 1500, to: 3500 });
    await opened.tip(3499);
    await opened.record([], 3499);
    const later = await opened.run();
    expect(later.summary!.counts).toMatchObject({ skipped: 0 });
    expect(await skippedKeys(own.db.em(), opened.name, null, 10)).toEqual([]);
  });
});

describe('two tables whose servers digest them', () => {
  test('that agree are not read at all', async () => {
    await fill('processor', many(3_000));
    await fill('ours', many(3_000).reverse());
    const { asked, verdict, counts } = await compared({}, false);
    expect([verdict, asked]).toEqual(['CLEAN', []]);
    expect(counts).toMatchObject({ ledgerRecords: 3_000, bookRecords: 3_000, matched: 3_000 });
  });

  test('that differ in a few rows have those read, and are judged as if all had been', async () => {
    await fill('processor', many(3_000));
    await fill('ours', [
      ...many(3_000)
        .slice(5)
        .map((row, i) => (i % 500 === 0 ? { ...row, amount: Number(row.amount) + 1 } : row)),
      { key: 'pay-77', amount: 1 },
      { key: 'ours alone', amount: 1 },
    ]);
    const tolerant = { amountTolerances: [{ asset: '*', minor: 2n, basisPoints: null }] };
    for (const policy of [{}, tolerant]) {
      const { asked, ...digested } = await compared(policy, false);
      const { asked: askedPlainly, ...plainly } = await compared(policy, true);
      expect(digested).toEqual(plainly);
      expect([asked, askedPlainly]).toEqual([
        ['chosen', 'chosen'],
        ['entries', 'entries'],
      ]);
    }
  });

  test('that differ everywhere are read whole', async () => {
    await fill('processor', many(900));
    await fill(
      'ours',
      many(900).map((row) => ({ ...row, amount: Number(row.amount) + 1 })),
    );
    const { asked, ...digested } = await compared({}, false);
    expect(digested.counts).toMatchObject({ matched: 0, drifted: 900 });
    expect(digested).toEqual((({ asked: _, ...rest }) => rest)(await compared({}, true)));
    expect(asked.length).toBe(2);
  });

  test('that both hold a row which nobody can read are read, and it is refused', async () => {
    await fill('processor', [...many(50), { key: ' blanks ', amount: 1 }]);
    await fill('ours', [...many(50), { key: ' blanks ', amount: 1 }]);
    expect(await (await house()).run({ trigger: 'manual' })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { inconclusive: [{ reason: 'BOOK_UNREADABLE' }] },
    });
  });
});
