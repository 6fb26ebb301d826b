// Goal: every kind of drift is found end to end, exactly once and only where it is proven. Method: ledgers by hand and a recorded book in a real
// database; a house (stream, book, policy) for each case.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { hashAt, openHouse, type House, type HouseOptions } from '../_util/reconcile.ts';

const [SHOP, CUSTOMER] = ['GSHOP', 'GCUSTOMER'];
const USD = 'USD:GISSUER';
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const house = (options?: HouseOptions): Promise<House> => openHouse(test.db, options);
/** 400 ledgers of five seconds; what is booked by ledger 190 is past every grace at the cut. */
const WHOLE = { from: 1, to: 401 };
const kindsByKey = async (at: House) => (await at.drifts()).map((drift) => [drift.matchKey, drift.kinds]);

describe('each kind of drift', () => {
  it('is found in one run, beside what agrees', async () => {
    const at = await house({ policy: { timeToleranceMs: 60_000 } });
    const leg = (ledger: number, more: object = {}) => ({
      ledger,
      account: SHOP,
      amount: 100n,
      counterparty: CUSTOMER,
      ...more,
    });
    await at.ledgers(WHOLE, [
      leg(10),
      leg(20),
      leg(40),
      leg(50),
      leg(60),
      leg(70, { asset: USD }),
      leg(80),
      leg(90),
      leg(100),
      leg(110),
      leg(110, { leg: 1, opIndex: 2 }),
      leg(120, { amount: 0n, status: 'failed', resultCode: 'op_underfunded' }),
    ]);
    const row = (ledger: number, more: object = {}) =>
      at.row(ledger, { account: SHOP, amount: 100n, key: `${hashAt(ledger)}:1`, ...more });
    await at.record(
      [
        row(10),
        row(30),
        row(40, { amount: 90n }),
        row(50, { kind: 'trade' }),
        row(60, { counterparty: 'GELSE' }),
        row(70),
        row(80, { occurredAt: at.timeOf(200) }),
        row(90, { status: 'failed' }),
        row(100),
        row(100),
        row(110),
        row(110, { key: `${hashAt(110)}:2`, amount: 100n }),
        row(120, { status: 'failed', amount: 40n }),
        row(130, { account: CUSTOMER, amount: 1n }),
      ],
      400,
    );
    const run = await at.run();
    expect(run.summary?.inconclusive).toEqual([]);
    expect(run.verdict).toBe('DRIFT_DETECTED');
    const expected: [number, string][] = [
      [20, 'MISSING_IN_DB'],
      [30, 'MISSING_ON_LEDGER'],
      [40, 'AMOUNT_MISMATCH'],
      [50, 'TYPE_MISMATCH'],
      [60, 'ACCOUNT_MISMATCH'],
      [70, 'ASSET_MISMATCH'],
      [80, 'TIME_MISMATCH'],
      [90, 'STATUS_MISMATCH'],
      [100, 'DUPLICATE_IN_DB'],
      [130, 'MISSING_ON_LEDGER'],
    ];
    expect(await kindsByKey(at)).toEqual(
      expected.map(([ledger, kind]) => [`${hashAt(ledger)}:1`, [kind]]).sort((a, b) => (a[0]! < b[0]! ? -1 : 1)),
    );
    expect(run.summary?.counts).toMatchObject({
      ledgerRecords: 11,
      bookRecords: 14,
      matched: 5,
      drifted: 10,
      appeared: 10,
      pending: 0,
      skipped: 0,
    });
    expect(run.summary?.join).toBe('operation');
    for (const [, kind] of expected) expect(await at.counted(kind)).toBe(kind === 'MISSING_ON_LEDGER' ? 2 : 1);
  });

  it('is DUPLICATE_ON_LEDGER where one key moved twice and the book knows of one', async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 10, account: SHOP, amount: 5n },
      { ledger: 10, leg: 1, account: SHOP, amount: 5n },
    ]);
    await at.record([at.row(10, { account: SHOP, amount: 5n, key: `${hashAt(10)}:1` })], 400);
    await at.run();
    expect(await kindsByKey(at)).toEqual([[`${hashAt(10)}:1`, ['DUPLICATE_ON_LEDGER']]]);
  });

  it('keeps both sides with it, the value at risk and the date of the item', async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 40, account: SHOP, amount: -100n, counterparty: CUSTOMER, subAccount: '77', subAccountType: 'memo_id' },
    ]);
    await at.record(
      [at.row(40, { rowId: 'invoice 9', account: SHOP, amount: -90n, status: 'Paid', subAccount: '78' })],
      400,
    );
    const { summary } = await at.run();
    expect(await at.drifts()).toMatchObject([
      {
        kinds: ['AMOUNT_MISMATCH', 'ACCOUNT_MISMATCH'],
        fields: [
          { field: 'amount', ledger: '-100', book: '-90' },
          { field: 'sub_account', ledger: '77', book: '78' },
        ],
        ledgerSide: {
          account: SHOP,
          amount: -100n,
          ledger: 40,
          txHash: hashAt(40),
          rowIds: ['40-1-1-0'],
          subAccount: '77',
          kind: 'payment',
        },
        bookSide: { amount: -90n, rowIds: ['invoice 9'], status: 'Paid', subAccount: '78' },
        valueAtRisk: 10n,
        itemAt: at.timeOf(40),
        state: 'open',
        episode: 1,
      },
    ]);
    expect(summary?.valueAtRisk).toEqual([{ asset: 'native', amount: 10n, count: 1 }]);
  });
});

describe('the join', () => {
  const legs = [
    { ledger: 10, account: SHOP, amount: 60n },
    { ledger: 10, opIndex: 2, account: SHOP, amount: 40n },
    { ledger: 11, account: SHOP, amount: 7n },
  ];
  const toid = (ledger: number, txIndex: number, opIndex: number): string =>
    String((BigInt(ledger) << 32n) | (BigInt(txIndex) << 12n) | BigInt(opIndex));

  it('is inferred as the transaction, whose legs are summed', async () => {
    const at = await house();
    await at.ledgers(WHOLE, legs);
    await at.record([at.row(10, { account: SHOP, amount: 100n }), at.row(11, { account: SHOP, amount: 7n })], 400);
    const run = await at.run();
    expect(run).toMatchObject({
      verdict: 'CLEAN',
      summary: { join: 'tx_hash', counts: { ledgerRecords: 3, bookRecords: 2, matched: 2 } },
    });
  });

  it('is inferred as hash:operation', async () => {
    const at = await house();
    await at.ledgers(WHOLE, legs);
    await at.record(
      [
        at.row(10, { account: SHOP, amount: 60n, key: `${hashAt(10)}:1` }),
        at.row(10, { account: SHOP, amount: 40n, key: `${hashAt(10)}:2` }),
        at.row(11, { account: SHOP, amount: 7n, key: `${hashAt(11)}:1` }),
      ],
      400,
    );
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { join: 'operation', counts: { matched: 3 } } });
  });

  it("is inferred as Horizon's operation id, and a number that is none is missed, not a failure", async () => {
    const at = await house();
    await at.ledgers(WHOLE, legs);
    const rows = [
      at.row(10, { account: SHOP, amount: 60n, key: toid(10, 1, 1) }),
      at.row(10, { account: SHOP, amount: 40n, key: toid(10, 1, 2) }),
      at.row(11, { account: SHOP, amount: 7n, key: toid(11, 1, 1) }),
    ];
    await at.record(rows, 400);
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { join: 'operation', counts: { matched: 3 } } });
    const more = Array.from({ length: 20 }, (_, i) =>
      at.row(20, { account: SHOP, amount: 1n, key: toid(20 + i, 1, 1), status: 'failed' }),
    );
    await at.record([...more, at.row(12, { account: SHOP, amount: 7n, key: '9999999999999999999' })], 400);
    await at.run();
    expect(await kindsByKey(at)).toEqual([['9999999999999999999', ['MISSING_ON_LEDGER']]]);
  });

  it('is not guessed from keys that name nothing, and sides whose keys never meet accuse nobody', async () => {
    const at = await house();
    await at.ledgers(WHOLE, legs);
    await at.record([at.row(10, { account: SHOP, amount: 100n, key: 'order-1' })], 400);
    expect(await at.run()).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: { inconclusive: [{ reason: 'KEYS_DISJOINT' }] },
    });
    const other = await house();
    await other.ledgers(WHOLE, legs);
    await other.record(
      [10, 11].map((ledger) => other.row(ledger, { account: SHOP, amount: 1n, key: hashAt(ledger + 300) })),
      400,
    );
    const run = await other.run();
    expect(run).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: {
        inconclusive: [{ reason: 'KEYS_DISJOINT' }],
        counts: { ledgerRecords: 3, bookRecords: 2, matched: 0, drifted: 0 },
      },
    });
    expect([...(await at.drifts()), ...(await other.drifts())]).toEqual([]);
  });
});

describe('scope', () => {
  it("is the book's own pairs: other accounts and assets accuse nobody, and is printed on the run", async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 10, account: SHOP, amount: 5n },
      { ledger: 10, leg: 1, account: CUSTOMER, amount: -5n },
      { ledger: 11, account: CUSTOMER, amount: 3n },
      { ledger: 12, account: SHOP, asset: USD, amount: 4n },
      { ledger: 13, opIndex: 0, account: SHOP, amount: -100n, kind: 'fee' },
    ]);
    await at.record([at.row(10, { account: SHOP, amount: 5n })], 400);
    const run = await at.run();
    expect(run.verdict).toBe('CLEAN');
    expect(run.summary).toMatchObject({
      scope: { accounts: [SHOP], assets: ['native'], accountCount: 1 },
      counts: { ledgerRecords: 1 },
      feeTotals: [{ account: SHOP, amount: 100n, count: 1 }],
    });
  });

  it('finds the other half of a row on an account that the book has nothing else of', async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 10, account: SHOP, amount: -5n },
      { ledger: 10, leg: 1, account: 'GREAL', amount: 5n },
    ]);
    await at.record([at.row(10, { account: SHOP, amount: -5n }), at.row(10, { account: 'GTYPO', amount: 5n })], 400);
    await at.run();
    expect(await at.drifts()).toMatchObject([
      { kinds: ['ACCOUNT_MISMATCH'], fields: [{ field: 'account', ledger: 'GREAL', book: 'GTYPO' }] },
    ]);
    await at.run();
    expect(await at.drifts()).toMatchObject([{ kinds: ['ACCOUNT_MISMATCH'], state: 'open' }]);
  });

  it('keeps to the accounts and assets that a policy names, on both sides', async () => {
    const at = await house({ policy: { scope: { accounts: [SHOP], assets: ['native'] } } });
    await at.ledgers(WHOLE, [
      { ledger: 10, account: SHOP, amount: 5n },
      { ledger: 11, account: SHOP, asset: USD, amount: 5n },
      { ledger: 12, account: CUSTOMER, amount: 5n },
      { ledger: 14, account: SHOP, amount: 6n },
    ]);
    await at.record(
      [
        at.row(10, { account: SHOP, amount: 5n }),
        at.row(13, { account: CUSTOMER, amount: 9n }),
        at.row(15, { account: SHOP, asset: USD, amount: 9n }),
      ],
      400,
    );
    const run = await at.run();
    expect(run.summary?.counts).toMatchObject({ ledgerRecords: 2, bookRecords: 1, matched: 1, drifted: 1 });
    expect(await kindsByKey(at)).toEqual([[hashAt(14), ['MISSING_IN_DB']]]);
  });

  it("leaves a book's fee rows out of the matching, as the ledger's are", async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 10, account: SHOP, amount: -5n },
      { ledger: 10, opIndex: 0, account: SHOP, amount: -1n, kind: 'fee' },
    ]);
    await at.record(
      [
        at.row(10, { account: SHOP, amount: -5n, kind: 'payment' }),
        at.row(10, { account: SHOP, amount: -1n, kind: 'fee' }),
      ],
      400,
    );
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { counts: { bookRecords: 1, matched: 1 } } });
  });

  it('is narrowed by a caller, never widened, and closes nothing that it did not look at', async () => {
    const at = await house();
    await at.ledgers(WHOLE, [
      { ledger: 9, account: SHOP, amount: 1n },
      { ledger: 10, account: SHOP, amount: 5n },
      { ledger: 11, account: CUSTOMER, amount: 5n },
      { ledger: 12, account: SHOP, asset: USD, amount: 5n },
    ]);
    await at.record([at.row(9, { account: SHOP, amount: 1n }), at.row(20, { account: CUSTOMER, amount: 8n })], 400);
    await at.run();
    const before = await kindsByKey(at);
    expect(before).toHaveLength(3);
    const scope = { accounts: [SHOP], assets: [], kinds: [] };
    const run = await at.run({ trigger: 'manual', scope });
    expect(run.summary).toMatchObject({
      scope: { accounts: [SHOP] },
      counts: { ledgerRecords: 2, bookRecords: 1, matched: 1, resolved: 0, appeared: 0, drifted: 3 },
    });
    expect(await kindsByKey(at)).toEqual(before);
    expect(
      (await at.run({ trigger: 'manual', scope: { ...scope, accounts: ['GSTRANGER'] } })).summary?.counts,
    ).toMatchObject({ resolved: 0, drifted: 3 });
  });
});
