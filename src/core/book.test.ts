// Goal: a book row means one thing, whatever spelling it arrived in, and what can't be understood is refused by column.
// Method: examples for each rule, fast-check for the round trip through text.
import { StrKey } from '@stellar/stellar-sdk';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bookLevelOf,
  checkBookColumns,
  createOccurrenceCounter,
  deriveRowIdBase,
  derivedRowId,
  formatBookRow,
  inferJoin,
  parseBookBalance,
  parseBookRow,
} from './book.ts';
import type { BookRowInput } from './book.ts';
import { TrueUpError } from './errors.ts';
import { splitMuxedAddress } from './muxed.ts';

const G = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(7) as never);
const C = StrKey.encodeContract(new Uint8Array(32).fill(9) as never);
const HASH = 'ab'.repeat(32);
const base = { key: HASH, account: G, asset: 'native', amount: '12.5' };

function problemsOf(run: () => unknown): Record<string, string> {
  try {
    run();
  } catch (error) {
    if (error instanceof TrueUpError && error.reason === 'INVALID_REQUEST') {
      return Object.fromEntries((error.details.fields ?? []).map((field) => [field.field, field.description]));
    }
    throw error;
  }
  return {};
}

/** An M... address made by the SDK's rules from a key and an id. */
function muxed(id: bigint): string {
  const bytes = new Uint8Array(40).fill(7);
  new DataView(bytes.buffer).setBigUint64(32, id);
  return StrKey.encodeMed25519PublicKey(bytes as never);
}

describe('amounts', () => {
  test('"100" and "100.0" are the same amount, and so are their minor units', () => {
    const amounts = [
      { amount: '100' },
      { amount: '100.0' },
      { amount: '+100.0000000' },
      { amount_minor: '1000000000' },
    ];
    for (const amount of amounts) expect(parseBookRow({ ...base, amount: '', ...amount }).amount).toBe(1_000_000_000n);
  });

  test('debits are negative', () => {
    expect(parseBookRow({ ...base, amount: '-0.0000001' }).amount).toBe(-1n);
  });

  test('refuses a float with the fix, and takes a safe integer', () => {
    expect(problemsOf(() => parseBookRow({ ...base, amount: 12.5 }))['amount']).toMatch(
      /floating-point.*send a string/,
    );
    expect(problemsOf(() => parseBookRow({ ...base, amount: 2 ** 53 }))['amount']).toMatch(/send a string/);
    expect(parseBookRow({ ...base, amount: 3 }).amount).toBe(30_000_000n);
  });

  test('refuses both amount and amount_minor, neither, exponents, separators and digits below the scale', () => {
    expect(problemsOf(() => parseBookRow({ ...base, amount_minor: '1' }))['amount']).toMatch(/one of the two/);
    expect(problemsOf(() => parseBookRow({ ...base, amount: ' ' }))['amount']).toMatch(/missing/);
    for (const amount of ['1e3', '1,000', '12,5', 'NaN', '0x10', '1.00000001']) {
      expect(Object.keys(problemsOf(() => parseBookRow({ ...base, amount })))).toEqual(['amount']);
    }
  });

  test("asks for amount_minor where the asset's decimals aren't known", () => {
    expect(problemsOf(() => parseBookRow({ ...base, asset: C }))['amount']).toMatch(/give amount_minor/);
    expect(parseBookRow({ ...base, asset: C, amount: null, amount_minor: '5' }).amount).toBe(5n);
    expect(parseBookRow({ ...base, asset: C }, () => 2).amount).toBe(1250n);
  });

  test('a retraction needs no amount', () => {
    expect(parseBookRow({ ...base, amount: '', retracted: 'true' })).toMatchObject({ amount: null, retracted: true });
  });
});

describe('accounts and keys', () => {
  test('refuses a mistyped account', () => {
    const typo = G.slice(0, 20) + (G[20] === 'A' ? 'B' : 'A') + G.slice(21);
    expect(problemsOf(() => parseBookRow({ ...base, account: typo }))['account']).toMatch(/checksum/);
  });

  test('splits a muxed address into account and sub-account, ids above 2^53 too', () => {
    const id = 2n ** 63n + 5n;
    expect(splitMuxedAddress(muxed(id))).toEqual({ account: G, muxedId: id.toString() });
    expect(parseBookRow({ ...base, account: muxed(id) })).toMatchObject({ account: G, subAccount: id.toString() });
    expect(parseBookRow({ ...base, counterparty: muxed(3n) }).counterparty).toBe(G);
  });

  test('refuses a muxed address with a wrong checksum or another sub-account', () => {
    const address = muxed(8n);
    const broken = address.slice(0, -1) + (address.endsWith('A') ? 'B' : 'A');
    expect(problemsOf(() => parseBookRow({ ...base, account: broken }))['account']).toMatch(/checksum/);
    expect(problemsOf(() => parseBookRow({ ...base, account: address, sub_account: '9' }))['account']).toMatch(
      /muxed id 8/,
    );
  });

  test('writes hashes in lower case and leaves other keys alone', () => {
    expect(parseBookRow({ ...base, key: HASH.toUpperCase() }).key).toBe(HASH);
    expect(parseBookRow({ ...base, key: `${HASH.toUpperCase()}:2` }).key).toBe(`${HASH}:2`);
    expect(parseBookRow({ ...base, key: 'Order-7' }).key).toBe('Order-7');
  });

  test('allows a row without a key only where a sub-account can find it', () => {
    expect(problemsOf(() => parseBookRow({ ...base, key: '' }))['key']).toMatch(/missing/);
    expect(parseBookRow({ ...base, key: '', sub_account: '42' })).toMatchObject({ key: '', subAccount: '42' });
  });

  test('names every bad column at once', () => {
    const bad = { account: 'GABC', asset: 'usd', amount: 'x', occurred_at: '2026-01-01', ledger: '-1', retracted: '?' };
    expect(Object.keys(problemsOf(() => parseBookRow(bad))).sort()).toEqual(
      ['account', 'amount', 'asset', 'ledger', 'occurred_at', 'retracted'].sort(),
    );
  });

  test('refuses text that a database would change', () => {
    for (const key of ['a\0b', 'a\ufffd', 'a\ud800', 'k'.repeat(257), 'ä'.repeat(129)]) {
      expect(Object.keys(problemsOf(() => parseBookRow({ ...base, key })))).toEqual(['key']);
    }
  });
});

describe('times', () => {
  test('reads ISO 8601 with a zone in its common spellings', () => {
    const spellings = [
      '2026-03-01T12:00:00Z',
      '2026-03-01 14:00:00+02',
      '2026-03-01T07:00-0500',
      '2026-03-01T12:00:00.0004+00:00',
    ];
    for (const spelling of spellings) {
      expect(parseBookRow({ ...base, occurred_at: spelling }).occurredAt?.toISOString()).toBe(
        '2026-03-01T12:00:00.000Z',
      );
    }
  });

  test('refuses a missing zone, unix numbers and days that no calendar has', () => {
    const problem = (time: unknown) => problemsOf(() => parseBookRow({ ...base, occurred_at: time }))['occurred_at'];
    expect(problem('2026-03-01T12:00:00')).toMatch(/no zone/);
    expect(problem(1_700_000_000)).toMatch(/unit/);
    expect(problem('1700000000')).toMatch(/unit/);
    expect(problem('2026-02-30T12:00:00Z')).toMatch(/calendar/);
  });
});

test('a balance is that of a whole account', () => {
  const record = { account: G, asset: 'XLM', balance: '1.5' };
  expect(parseBookBalance(record)).toEqual({ account: G, asset: 'native', amount: 15_000_000n, asOfLedger: 0 });
  expect(parseBookBalance({ ...record, as_of_ledger: '77' }).asOfLedger).toBe(77);
  expect(problemsOf(() => parseBookBalance({ ...record, account: muxed(1n) }))['account']).toMatch(/whole accounts/);
});

describe('columns', () => {
  test('the amount column tells the level', () => {
    expect(bookLevelOf(['account', 'amount_minor'])).toBe('entries');
    expect(bookLevelOf(['account', 'balance'])).toBe('balances');
    expect(bookLevelOf(['account'])).toBeNull();
    expect(bookLevelOf(['amount', 'balance'])).toBeNull();
  });

  test('a misspelt column is met with the name that was meant', () => {
    const problems = checkBookColumns(['key', 'acount', 'asset', 'amountMinor', 'note'], 'entries');
    const byField = Object.fromEntries(problems.map((problem) => [problem.field, problem.description]));
    expect(byField['acount']).toContain('did you mean account?');
    expect(byField['amountMinor']).toContain('did you mean amount_minor?');
    expect(byField['note']).toContain('leave it out');
    expect(byField['account']).toBe('is missing');
    expect(checkBookColumns(['key', 'account', 'asset', 'amount'], 'entries')).toEqual([]);
  });
});

describe('row identity', () => {
  test('equal rows in one file are different rows, and the same file again gives the same ids', () => {
    const rows = [base, base, { ...base, amount: '13' }, { ...base, key: 'other' }].map((record) =>
      parseBookRow(record),
    );
    const ids = () => {
      const counter = createOccurrenceCounter(100);
      return rows.map(deriveRowIdBase).map((id) => derivedRowId(id, counter.next(id)));
    };
    expect(new Set(ids()).size).toBe(4);
    expect(ids()).toEqual(ids());
  });

  test('a corrected amount keeps the id', () => {
    expect(deriveRowIdBase(parseBookRow(base))).toBe(deriveRowIdBase(parseBookRow({ ...base, amount: '-99' })));
  });
});

describe('inferring the join', () => {
  test('64 hex digits are transaction hashes, hash:operation and Horizon ids are operations', () => {
    expect(inferJoin([HASH, HASH.toUpperCase()])).toMatchObject({ join: 'tx_hash', form: 'hash' });
    expect(inferJoin([`${HASH}:1`])).toMatchObject({ join: 'operation', form: 'hash:op' });
    expect(inferJoin(['4294971393', '229033332756481'])).toMatchObject({ join: 'operation', form: 'toid' });
  });

  test("never joins a row's own id to a hash", () => {
    const uuids = Array.from({ length: 20 }, () => crypto.randomUUID());
    expect(inferJoin(uuids)).toMatchObject({ join: null, reason: expect.stringContaining('names no transaction') });
    expect(inferJoin(['1', '2', '3']).join).toBeNull();
    expect(inferJoin(['4294971392']).reason).toMatch(/operation part is 0/);
  });

  test('says so when the keys are mixed or absent, and bears a stray one', () => {
    expect(inferJoin([HASH, `${HASH}:1`])).toMatchObject({
      join: null,
      reason: expect.stringContaining('several forms'),
    });
    expect(inferJoin(['', '']).join).toBeNull();
    expect(inferJoin([...Array.from({ length: 19 }, () => HASH), 'stray']).join).toBe('tx_hash');
  });
});

test('a row survives being written as text and read again', () => {
  const word = fc.stringMatching(/^[a-z0-9][a-z0-9 _:"',\n-]{0,20}[a-z0-9]$/);
  const row: fc.Arbitrary<BookRowInput> = fc.record({
    rowId: fc.option(word),
    key: word,
    account: fc.constantFrom(G, C),
    asset: fc.constantFrom('native', `USDC:${G}`, C),
    amount: fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n - 1n }),
    kind: fc.option(word),
    counterparty: fc.option(word),
    status: fc.option(word),
    subAccount: fc.option(word),
    occurredAt: fc.option(fc.date({ min: new Date(0), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true })),
    ledger: fc.option(fc.integer({ min: 1, max: 2 ** 31 - 1 })),
    retracted: fc.boolean(),
  });
  const same = fc.property(row, (value) => {
    expect(parseBookRow(formatBookRow(value))).toEqual(value);
  });
  fc.assert(same, { numRuns: 500 });
});
