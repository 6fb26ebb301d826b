// Goal: two PostgreSQL sides compared by digests differ exactly where a naive comparison says so, and nothing that differs cancels out.
// Method: tables in a real PostgreSQL, made-up and changed at random; sessions as a run opens them.
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatAmount } from '../../src/core/money.ts';
import { PgHash, PgValue } from '../../src/core/pg-hash.ts';
import { rowHashSql, type HashedField } from '../../src/core/row-hash.ts';
import { MAX_DIRECT_ROWS } from '../../src/core/segments.ts';
import { compareDigests, drawMark, drawSeeds, equalRowsOf, type DigestOutcome } from '../../src/services/run-digest.ts';
import { openBookSession, type BookSession } from '../../src/sources/book-session.ts';
import { POSTGRES_BOOK_LIMITS } from '../../src/sources/book-postgres.ts';
import { createDigestSide, type DigestQuery, type DigestSide } from '../../src/sources/side-digest.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';

let test: TestDatabase;
let client: pg.Client;
const signal = AbortSignal.timeout(600_000);

beforeAll(async () => {
  test = await createTestDatabase({ migrated: false });
  client = new pg.Client({ connectionString: test.url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await test.drop();
});

describe('the hash of a row', () => {
  it('leaves none of 1,000 swaps of two rows’ amounts unseen, where a sum of hash_record_extended leaves hundreds', async () => {
    const field = (sql: string): HashedField => ({ sql, type: 'number' });
    const sum = (amounts: readonly [string, string]) =>
      `${rowHashSql({ key: 'ka', fields: [field(amounts[0])] }, 7n)}::numeric + ${rowHashSql({ key: 'kb', fields: [field(amounts[1])] }, 7n)}`;
    const linear = (amounts: readonly [string, string]) =>
      `hash_record_extended(row(ka, ${amounts[0]}), 7)::numeric + hash_record_extended(row(kb, ${amounts[1]}), 7)`;
    const unseen = (of: typeof sum) => `count(*) filter (where ${of(['a', 'b'])} = ${of(['b', 'a'])})::int`;
    const { rows } = await client.query<{ ours: number; linear: number }>(
      `select ${unseen(sum)} as ours, ${unseen(linear)} as linear
       from (select md5(i::text) as ka, md5((-i)::text) as kb, (i * 7919)::numeric as a, (i * 104729)::numeric as b
             from generate_series(1, 1000) i) swap`,
    );
    expect(rows[0]!.ours).toBe(0);
    expect(rows[0]!.linear).toBeGreaterThan(100);
  });

  it('is computed here as PostgreSQL computes it', async () => {
    const anyText = fc.string({ unit: 'binary', maxLength: 80 }).filter((text) => !text.includes('\0'));
    const anyNumber = fc
      .tuple(fc.bigInt({ min: -(10n ** 39n), max: 10n ** 39n }), fc.integer({ min: 0, max: 38 }), fc.nat(39))
      .map(([minor, scale, cut]) => formatAmount(minor / 10n ** BigInt(cut), scale));
    const anyMs = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true });
    const seed = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constant(0n));
    const value = fc.record({ seed, text: anyText, number: anyNumber, time: anyMs, mark: fc.nat() });
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 100, maxLength: 100 }), async (values) => {
        const { rows } = await client.query<Record<string, string>>(
          `select hashtextextended(v->>'text' collate "C", (v->>'seed')::bigint)::text as text,
             hash_numeric_extended((v->>'number')::numeric, (v->>'seed')::bigint)::text as number,
             timestamp_hash_extended((v->>'time')::timestamptz at time zone 'UTC', (v->>'seed')::bigint)::text as time,
             hashint4extended((v->>'mark')::int, (v->>'seed')::bigint)::text as mark
           from jsonb_array_elements($1::jsonb) as v`,
          [JSON.stringify(values, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each))],
        );
        const [hash, written] = [new PgHash(), new PgValue()];
        const half = (wide: bigint): number => Number(BigInt.asIntN(32, wide));
        const of = (start: bigint, write: () => void): string => {
          write();
          hash.set(half(start >> 32n), half(start));
          hash.add(written);
          return String((BigInt(hash.high) << 32n) | BigInt(hash.low >>> 0));
        };
        const ours = values.map(({ seed: start, text: words, number: digits, time: at, mark }) => ({
          text: of(start, () => written.text(words)),
          number: of(start, () => written.number(digits)),
          time: of(start, () => written.time(at.getTime())),
          mark: of(start, () => written.integer(mark)),
        }));
        expect(ours).toEqual(rows);
      }),
      cases(10),
    );
  });

  const number = (sql: string): HashedField => ({ sql, type: 'number' });
  const text = (sql: string): HashedField => ({ sql, type: 'text' });
  const time = (sql: string): HashedField => ({ sql, type: 'time' });
  const hashesOf = async (one: readonly HashedField[], other: readonly HashedField[]): Promise<boolean> => {
    const hash = (fields: readonly HashedField[]) => rowHashSql({ key: `'k'`, fields }, -5n);
    const { rows } = await client.query<{ same: boolean }>(`select ${hash(one)} = ${hash(other)} as same`);
    return rows[0]!.same;
  };

  it.each([
    ['a number of another scale', number(`'1.0'`), number(`'1.00'`)],
    ['an integer and a numeric', number('7::int'), number('7.000::numeric')],
    ['zero with a minus', number(`'-0.0'`), number('0')],
    [
      'large numbers',
      number(`'170141183460469231731687303715884105727'`),
      number(`'170141183460469231731687303715884105727.0'`),
    ],
    ['one instant in two zones', time(`'2026-01-01 12:00:00.000001+02'`), time(`'2026-01-01 10:00:00.000001Z'`)],
    ['a text and a varchar', text(`'paid'::text`), text(`'paid'::varchar(10)`)],
  ])('is the same for %s', async (_, one, other) => {
    expect(await hashesOf([one], [other])).toBe(true);
  });

  it.each([
    ['null and an empty text', text('null'), text(`''`)],
    ['null and zero', number('null'), number('0')],
    ['null and the beginning of time', time('null'), time(`'epoch'`)],
    ['a number and its negative', number('5'), number('-5')],
    ['numbers a power of the base apart', number('1'), number('10000')],
    [
      'numbers that differ in the 39th digit',
      number(`'170141183460469231731687303715884105727'`),
      number(`'170141183460469231731687303715884105726'`),
    ],
    ['microseconds', time(`'2026-01-01 10:00:00.000001Z'`), time(`'2026-01-01 10:00:00.000002Z'`)],
    ['upper and lower case', text(`'A'`), text(`'a'`)],
    ['a blank at the end', text(`'a '`), text(`'a'`)],
    ['letters that collations hold for equal', text(`U&'\\00e9'`), text(`U&'e\\0301'`)],
  ])('differs for %s', async (_, one, other) => {
    expect(await hashesOf([one], [other])).toBe(false);
  });

  it('keeps fields apart: no separator, no exchange of two fields, no null in another place is mistaken', async () => {
    expect(await hashesOf([text(`'a,b'`), text(`'c'`)], [text(`'a'`), text(`'b,c'`)])).toBe(false);
    expect(await hashesOf([text(`'ab'`), text(`''`)], [text(`'a'`), text(`'b'`)])).toBe(false);
    expect(await hashesOf([text(`'a'`), text(`'b'`)], [text(`'b'`), text(`'a'`)])).toBe(false);
    expect(await hashesOf([text('null'), text(`'a'`)], [text(`'a'`), text('null')])).toBe(false);
    expect(await hashesOf([number('null'), text(`''`)], [number('0'), text('null')])).toBe(false);
  });
});

describe('two sides', () => {
  const row = fc.record({
    key: fc.constantFrom('a', 'B', 'b', 'é', 'z', '10', '9', ''),
    account: fc.constantFrom('G1', 'G1,', ''),
    amount: fc.constantFrom('1', '-1', '1.50', '170141183460469231731687303715884105727'),
    status: fc.constantFrom(null, '', 'paid'),
  });

  it('differ exactly in the keys in which a naive comparison finds other rows', async () => {
    await client.query('create table made_l (key text, account text, asset text, amount numeric, status text)');
    await client.query('create table made_r (like made_l)');
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { maxLength: 12 }),
        fc.array(row, { maxLength: 3 }),
        fc.array(row, { maxLength: 3 }),
        async (both, l, r) => {
          const [left, right] = [[...both, ...l], [...both, ...r].reverse()];
          await client.query('truncate made_l, made_r');
          await insert('made_l', left);
          await insert('made_r', right);
          const found = await compare('made_l', 'made_r');
          expect([...found.differing].sort()).toEqual(differingKeys(left, right).sort());
          expect(found.equal + found.readLeft).toBe(left.length);
        },
      ),
      cases(40),
    );
  });

  describe('of many rows', () => {
    const rows = MAX_DIRECT_ROWS + 10_000;
    beforeAll(async () => {
      await client.query(
        `create table many (key text, account text, asset text, amount numeric, status text);
         insert into many select md5(i::text), 'G' || i % 100, 'native', i, 'paid' from generate_series(1, ${rows}) i;
         create table one_off as select * from many;
         update one_off set amount = amount + 1 where amount = 77;
         create table some_off as select key, account, asset, case when amount % 100 = 7 then amount + 1 else amount end as amount, status
           from many where amount % 1000 <> 13;
         create table all_off as select key, account, asset, amount + 1 as amount, status from many;
         create table copied as select * from many order by key;
         analyze many; analyze one_off; analyze some_off; analyze all_off; analyze copied`,
      );
    });

    it('that are equal are not read at all', async () => {
      const found = await compare('many', 'copied');
      expect(found).toMatchObject({ kind: 'equal', equal: rows, readLeft: 0, readRight: 0 });
    });

    it('cost the rows of one segment where one row differs', async () => {
      const found = await compare('many', 'one_off');
      expect(found.differing).toHaveLength(1);
      expect(found.readLeft).toBeLessThan(rows / 100);
      expect(found.equal + found.readLeft).toBe(rows);
    });

    it.each(['no index', 'an index'])(
      'cost little more than the rows that differ where one in fifty does, with %s on the key',
      async (index) => {
        if (index === 'an index') await client.query('create index on many (key); create index on some_off (key)');
        const found = await compare('many', 'some_off');
        const { rows: wanted } = await client.query<{ key: string }>(
          `select key from (table many except all table some_off) gone union select key from (table some_off except all table many) come`,
        );
        expect(found.differing.length).toBe(wanted.length);
        expect(new Set(found.differing)).toEqual(new Set(wanted.map((each) => each.key)));
        expect(found.readLeft).toBeLessThan(4 * wanted.length);
        expect(found.equal + found.readLeft).toBe(rows);
      },
    );

    it('are to be read whole where nearly all differ', async () => {
      expect((await compare('many', 'all_off')).kind).toBe('most');
    });
  });

  it('never agree about a row that can’t be read, though both have the same', async () => {
    await client.query(
      `create table holes as select 'k' as key, 'G' as account, 'native' as asset, null::numeric as amount, 'paid' as status`,
    );
    const found = await compare('holes', 'holes');
    expect(found).toMatchObject({ equal: 0, readLeft: 1, readRight: 1 });
  });

  it('may be any SELECT, with a comment at its end, and none that writes', async () => {
    await client.query('create sequence counted');
    const select = `select key, account, asset, amount, status from (values ('k', 'G', 'native', 1, 'paid')) v (key, account, asset, amount, status) -- all`;
    expect(await compareQueries(select, select)).toMatchObject({ kind: 'equal', equal: 1 });
    const writing = select.replace('1,', `nextval('counted')::int,`);
    await expect(compareQueries(select, writing)).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
  });
});

describe('pairs by COPY', () => {
  it('come whole, whatever their number and sign, and leave the connection as it was', async () => {
    const session = await openSession();
    let [count, sum, highs] = [0, 0, 0];
    await session.pairs('select i::int, -i::bigint from generate_series(1, 100000) i', (int4, high, low) => {
      count++;
      sum += int4 + low;
      highs += high;
    });
    expect([count, sum, highs]).toEqual([100_000, 0, -100_000]);
    await session.pairs('select 1, 1::bigint where false', () => expect.unreachable());
    expect(await session.rows('select 1 as one')).toEqual([{ one: 1 }]);
    await session.end();
  });

  it('that break off are an unreadable side, not a short one', async () => {
    const session = await openSession();
    const broken = session.pairs(
      'select (1 / (50000 - i))::int, 1::bigint from generate_series(1, 100000) i',
      () => undefined,
    );
    await expect(broken).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
    await session.end();
  });
});

type MadeRow = { key: string; account: string; amount: string | null; status: string | null };

async function insert(table: string, rows: readonly MadeRow[]): Promise<void> {
  await client.query(
    `insert into ${table} select key, account, 'native', amount, status
     from unnest($1::text[], $2::text[], $3::numeric[], $4::text[]) as made (key, account, amount, status)`,
    [
      rows.map((each) => each.key),
      rows.map((each) => each.account),
      rows.map((each) => each.amount),
      rows.map((each) => each.status),
    ],
  );
}

function differingKeys(left: readonly MadeRow[], right: readonly MadeRow[]): string[] {
  const contents = (rows: readonly MadeRow[]) => {
    const byKey = Map.groupBy(rows, (each) => each.key);
    const texts = [...byKey].map(([key, all]) => {
      const sorted = all.map((each) => JSON.stringify([each.account, withoutZeros(each.amount), each.status])).sort();
      return [key, sorted.join()] as const;
    });
    return new Map(texts);
  };
  const [l, r] = [contents(left), contents(right)];
  return [...new Set([...l.keys(), ...r.keys()])].filter((key) => l.get(key) !== r.get(key));
}

function withoutZeros(amount: string | null): string | null {
  return amount?.includes('.') ? amount.replace(/\.?0+$/, '') : amount;
}

function openSession(): Promise<BookSession> {
  return openBookSession(test.url, POSTGRES_BOOK_LIMITS, 'a side', signal);
}

interface Compared {
  readonly kind: DigestOutcome['kind'];
  readonly equal: number;
  readonly readLeft: number;
  readonly readRight: number;
  /** Keys whose rows that were read differ between the sides. */
  readonly differing: readonly string[];
}

const compare = (left: string, right: string): Promise<Compared> => compareQueries(`table ${left}`, `table ${right}`);

async function compareQueries(left: string, right: string): Promise<Compared> {
  const [ours, theirs] = [await openSession(), await openSession()];
  try {
    const seeds = drawSeeds();
    const sides = {
      left: createDigestSide(ours, queryOf(left), seeds),
      right: createDigestSide(theirs, queryOf(right), seeds),
    };
    const outcome = await compareDigests(sides, signal);
    if (outcome.kind !== 'some')
      return {
        kind: outcome.kind,
        equal: outcome.kind === 'equal' ? outcome.rows : 0,
        readLeft: 0,
        readRight: 0,
        differing: [],
      };
    const read = async (side: DigestSide) => {
      const rows: MadeRow[] = [];
      for await (const batch of side.rows<MadeRow>(outcome.choice, signal)) rows.push(...batch);
      return rows;
    };
    const [l, r] = [await read(sides.left), await read(sides.right)];
    return {
      kind: 'some',
      equal: equalRowsOf(outcome.all, { left: l.length, right: r.length }),
      readLeft: l.length,
      readRight: r.length,
      differing: differingKeys(l, r),
    };
  } finally {
    await Promise.all([ours.end(), theirs.end()]);
  }
}

function queryOf(query: string): DigestQuery {
  return {
    query,
    row: {
      key: 'q.key',
      fields: [
        { sql: 'q.account', type: 'text' },
        { sql: 'q.asset', type: 'text' },
        { sql: 'q.amount', type: 'number' },
        { sql: 'q.status', type: 'text' },
      ],
    },
    columns: 'q.key, q.account, q.asset, q.amount::text as amount, q.status',
    required: ['q.account', 'q.asset', 'q.amount'],
    mark: drawMark(),
    lookup: 'q.key',
  };
}
