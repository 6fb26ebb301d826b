// Goal: a balance is called derived only where nothing can be missing from it. Method: ledgers by hand in a real database, each
// case with a hole somewhere else.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeWatch } from '../../src/core/watch.ts';
import type { PagePosition } from '../../src/core/page.ts';
import { createBalanceLists } from '../../src/services/balances.ts';
import { balancesOfPairs, MAX_BALANCE_PAIRS } from '../../src/store/balances.ts';
import { lockBook, mergeBookBalances } from '../../src/store/book-writes.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { closeTimeOf, commitByHand, openTestStream, targetOf, type OpenedStream } from '../_util/ledger-rows.ts';

const [ALICE, BOB, CAROL, DAVE] = ['GALICE', 'GBOB', 'GCAROL', 'GDAVE'];
const USD = 'USD:GISSUER';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

async function balance(opened: OpenedStream, account: string, asOfLedger: number, asset = 'native') {
  const [found] = await balancesOfPairs(test.db.em(), opened.stream.id, 'operations', [{ account, asset, asOfLedger }]);
  return found!;
}

async function open(
  opened: OpenedStream,
  account: string,
  asset: string,
  ledger: number,
  amount: bigint,
): Promise<void> {
  await sql(
    test.db.em(),
    `insert into trueup.opening_balances (stream_id, account, asset, ledger, amount, source_id) values ($1, $2, $3, $4, $5, $6)`,
    [opened.stream.id, account, asset, ledger, amount.toString(), opened.target.sourceId],
  );
}

describe('a history covered from ledger 1', () => {
  let opened: OpenedStream;
  beforeAll(async () => {
    opened = await openTestStream(test.db, { passphrase: 'whole history' });
    await commitByHand(test.db, opened, { from: 1, to: 40 }, [
      { ledger: 1, txIndex: 0, opIndex: 0, account: ALICE, amount: 1000n, kind: 'genesis', txHash: null },
      { ledger: 10, account: ALICE, amount: -300n, counterparty: BOB, kind: 'create_account' },
      { ledger: 10, leg: 1, account: BOB, amount: 300n, counterparty: ALICE, kind: 'create_account' },
      { ledger: 10, opIndex: 0, account: ALICE, amount: -1n, kind: 'fee' },
      { ledger: 20, account: BOB, amount: 0n, status: 'failed', resultCode: 'op_underfunded' },
      { ledger: 20, opIndex: 0, account: BOB, amount: -2n, kind: 'fee', status: 'failed' },
      { ledger: 30, account: BOB, amount: 50n, asset: USD },
    ]);
  });

  it('gives each pair its balance at its own ledger, fees included and failed payments without effect', async () => {
    const rows = await balancesOfPairs(test.db.em(), opened.stream.id, 'operations', [
      { account: BOB, asset: 'native', asOfLedger: 39 },
      { account: ALICE, asset: 'native', asOfLedger: 9 },
      { account: ALICE, asset: 'native', asOfLedger: 10 },
      { account: BOB, asset: USD, asOfLedger: 29 },
      { account: BOB, asset: USD, asOfLedger: 30 },
      { account: 'GNOBODY', asset: 'native', asOfLedger: 30 },
    ]);
    expect(rows.map((row) => [row.amount, row.state])).toEqual(
      [298n, 1000n, 699n, 0n, 50n, 0n].map((amount) => [amount, 'derived']),
    );
  });

  it('derives nothing past the last covered ledger, and names what is missing', async () => {
    expect(await balance(opened, BOB, 45)).toMatchObject({
      state: 'no_opening',
      missing: [{ from: 40, to: 46 }],
      amount: 298n,
    });
  });

  it('keeps the layers apart: what one covers says nothing of the other', async () => {
    const [row] = await balancesOfPairs(test.db.em(), opened.stream.id, 'token_events', [
      { account: BOB, asset: 'native', asOfLedger: 30 },
    ]);
    expect(row).toMatchObject({ state: 'no_opening', amount: 0n, missing: [{ from: 1, to: 31 }] });
  });

  it('refuses more pairs than its named limit', async () => {
    const many = Array.from({ length: MAX_BALANCE_PAIRS + 1 }, () => ({
      account: BOB,
      asset: 'native',
      asOfLedger: 1,
    }));
    await expect(balancesOfPairs(test.db.em(), opened.stream.id, 'operations', many)).rejects.toMatchObject({
      reason: 'TOO_MANY_ROWS',
    });
  });
});

describe('a history that begins in the middle', () => {
  let opened: OpenedStream;
  beforeAll(async () => {
    opened = await openTestStream(test.db, { passphrase: 'from the middle', startLedger: 1000 });
    await commitByHand(test.db, opened, { from: 1000, to: 1100 }, [
      { ledger: 1010, account: ALICE, amount: -70n },
      { ledger: 1050, account: ALICE, amount: -30n },
      { ledger: 1060, account: CAROL, amount: 25n, asset: USD },
      // Dave's account was there before, was merged, and came again.
      { ledger: 1005, account: DAVE, amount: 11n },
      { ledger: 1020, account: DAVE, amount: -5000n, kind: 'account_merge' },
      { ledger: 1030, txIndex: 7, opIndex: 0, account: DAVE, amount: -100n, kind: 'fee' },
      { ledger: 1030, txIndex: 2, leg: 1, account: DAVE, amount: 400n, kind: 'create_account' },
      { ledger: 1040, account: DAVE, amount: -4n },
      { ledger: 1040, opIndex: 2, account: DAVE, asset: USD, amount: 9n },
      { ledger: 1041, account: DAVE, asset: 'CTOKEN', amount: 3n },
      // A sponsored account begins with nothing; its giver has the first leg.
      { ledger: 1070, leg: 0, account: ALICE, amount: 0n, kind: 'create_account' },
      { ledger: 1070, leg: 1, account: 'GSPONSORED', amount: 0n, kind: 'create_account' },
      { ledger: 1071, account: 'GSPONSORED', amount: 6n },
    ]);
    await open(opened, ALICE, 'native', 1020, 500n);
  });

  it('has no opening for an account that was there before, and reports only the sum of its legs', async () => {
    expect(await balance(opened, CAROL, 1080, USD)).toMatchObject({
      state: 'no_opening',
      amount: 25n,
      openingLedger: null,
      missing: [{ from: 1, to: 1000 }],
    });
  });

  it('counts from an opening snapshot, leaving out the legs up to its ledger', async () => {
    expect(await balance(opened, ALICE, 1099)).toMatchObject({
      state: 'derived',
      amount: 470n,
      openingLedger: 1020,
      openingAmount: 500n,
      legsAmount: -30n,
    });
    expect(await balance(opened, ALICE, 1020)).toMatchObject({ state: 'derived', amount: 500n, openingLedger: 1020 });
  });

  it('counts back from a snapshot that was taken later', async () => {
    expect(await balance(opened, ALICE, 1005)).toMatchObject({
      state: 'derived',
      amount: 570n,
      openingLedger: 1020,
      legsAmount: 70n,
    });
    expect(await balance(opened, ALICE, 900)).toMatchObject({
      state: 'no_opening',
      missing: [{ from: 901, to: 1000 }],
    });
  });

  it('counts from the creation of an account seen in unbroken coverage, whatever it was before', async () => {
    expect(await balance(opened, DAVE, 1099)).toMatchObject({ state: 'derived', amount: 396n, openingLedger: null });
    expect(await balance(opened, DAVE, 1099, USD)).toMatchObject({ state: 'derived', amount: 9n });
    expect(await balance(opened, DAVE, 1029)).toMatchObject({ state: 'no_opening' });
    expect(await balance(opened, 'GSPONSORED', 1099)).toMatchObject({ state: 'derived', amount: 6n });
  });

  it('takes no account creation for the beginning of a contract token', async () => {
    expect(await balance(opened, DAVE, 1099, 'CTOKEN')).toMatchObject({ state: 'no_opening', amount: 3n });
  });
});

describe('a history with a hole', () => {
  it('derives up to the hole and not beyond it, and names the hole', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'with a hole', startLedger: 100 });
    await commitByHand(test.db, opened, { from: 100, to: 120 }, [
      { ledger: 105, leg: 1, account: BOB, amount: 40n, kind: 'create_account' },
    ]);
    await commitByHand(test.db, opened, { from: 125, to: 140 }, [
      { ledger: 130, account: BOB, amount: -1n },
      { ledger: 130, opIndex: 2, account: ALICE, amount: 1n },
    ]);
    await open(opened, ALICE, 'native', 99, 7n);
    expect(await balance(opened, BOB, 119)).toMatchObject({ state: 'derived', amount: 40n });
    expect(await balance(opened, BOB, 135)).toMatchObject({
      state: 'no_opening',
      missing: [
        { from: 1, to: 100 },
        { from: 120, to: 125 },
      ],
    });
    expect(await balance(opened, ALICE, 135)).toMatchObject({
      state: 'no_opening',
      amount: 8n,
      openingLedger: 99,
      missing: [{ from: 120, to: 125 }],
    });
    await commitByHand(test.db, opened, { from: 120, to: 125 }, [{ ledger: 121, account: BOB, amount: -9n }], {
      follow: false,
    });
    expect(await balance(opened, BOB, 135)).toMatchObject({ state: 'derived', amount: 30n, missing: [] });
    expect(await balance(opened, ALICE, 135)).toMatchObject({ state: 'derived', amount: 8n });
  });
});

describe('an account whose movements the source cannot show', () => {
  it('is underived from the first such ledger on, with the reasons, and derived before it', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'underived' });
    await commitByHand(test.db, opened, { from: 1, to: 60 }, [{ ledger: 5, account: BOB, amount: 10n }], {
      underived: [
        { ledger: 30, account: BOB, reason: 'offer' },
        { ledger: 40, account: BOB, reason: 'contract_call' },
      ],
    });
    expect(await balance(opened, BOB, 29)).toMatchObject({ state: 'derived', reasons: [] });
    expect(await balance(opened, BOB, 35)).toMatchObject({ state: 'underived', reasons: ['offer'], amount: 10n });
    expect(await balance(opened, BOB, 59)).toMatchObject({ state: 'underived', reasons: ['contract_call', 'offer'] });
  });
});

describe('a watch that changed', () => {
  it('covers an account by every watch set that names it, and by no other', async () => {
    const first = await openTestStream(test.db, { passphrase: 'two watches', watch: makeWatch([ALICE]) });
    await commitByHand(test.db, first, { from: 1, to: 50 }, [{ ledger: 5, account: ALICE, amount: 10n }]);
    const second = { ...first, target: await targetOf(test.db.em(), first.stream.id, makeWatch([ALICE, BOB])) };
    await commitByHand(test.db, second, { from: 50, to: 90 }, [
      { ledger: 60, account: ALICE, amount: 1n },
      { ledger: 60, opIndex: 2, account: BOB, amount: 2n },
    ]);
    expect(await balance(first, ALICE, 89)).toMatchObject({ state: 'derived', amount: 11n });
    expect(await balance(first, BOB, 89)).toMatchObject({ state: 'no_opening', missing: [{ from: 1, to: 50 }] });
    expect(await balance(first, CAROL, 89)).toMatchObject({ state: 'no_opening', missing: [{ from: 1, to: 90 }] });
  });
});

describe('size', () => {
  it('derives 10,803 balances out of 200,000 legs in under two seconds', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'ten thousand' });
    await commitByHand(test.db, opened, { from: 1, to: 20_001 }, []);
    await sql(
      test.db.em(),
      `insert into trueup.entries (stream_id, layer, ledger, tx_index, op_index, leg, account, asset, amount, kind, failed, closed_at, source_id)
       select $1, 0, 1 + n % 20000, 1 + n / 20000, 1, 0, 'GACCOUNT' || (n * 7919::bigint % 10803), 'native', n % 1000, 'payment', false, now(), $2
       from generate_series(0, 199999) as n`,
      [opened.stream.id, opened.target.sourceId],
    );
    const pairs = Array.from({ length: 10_803 }, (_, n) => ({
      account: `GACCOUNT${n}`,
      asset: 'native',
      asOfLedger: 20_000,
    }));
    // The best of three: what is promised is the work, not the neighbours' on the same machine.
    let bestMs = Infinity;
    for (let round = 0; round < 3; round++) {
      const startedMs = performance.now();
      let sum = 0n;
      for (let from = 0; from < pairs.length; from += MAX_BALANCE_PAIRS) {
        const rows = await balancesOfPairs(
          test.db.em(),
          opened.stream.id,
          'operations',
          pairs.slice(from, from + MAX_BALANCE_PAIRS),
        );
        for (const row of rows) if (row.state === 'derived') sum += row.amount;
      }
      bestMs = Math.min(bestMs, performance.now() - startedMs);
      expect(sum).toBe(BigInt((200_000 / 1000) * 499_500));
    }
    expect(bestMs).toBeLessThan(2000);
  });
});

describe('listing balances', () => {
  const lists = () => createBalanceLists({ db: test.db, networkPassphrase: 'listed balances' });
  const filter = { stream: null, layer: 'operations' as const, asOfLedger: null };
  let opened: OpenedStream;
  beforeAll(async () => {
    opened = await openTestStream(test.db, { passphrase: 'listed balances' });
    await commitByHand(test.db, opened, { from: 1, to: 70 }, [
      { ledger: 2, account: 'GA', amount: 10n },
      { ledger: 3, account: 'GA', amount: 4n, asset: USD },
      { ledger: 3, opIndex: 2, account: 'GISSUER', amount: -4n, asset: USD },
      { ledger: 4, account: 'GB', amount: 10n },
      { ledger: 5, account: 'GB', amount: -10n },
      { ledger: 6, account: 'GC', amount: 1n },
      { ledger: 60, account: 'GD', amount: 2n },
    ]);
    await open(opened, 'GZ', 'native', 0, 9n);
  });
  const pagesOf = async (given: object, size: number) => {
    const found = [];
    for (let after: PagePosition | null = null; ;) {
      const page = await lists().listLedgerBalances({ ...filter, ...given }, { size, after });
      found.push(...page.items.map((row) => [row.account, row.asset, row.amount]));
      if (page.next === null) return found;
      after = page.next;
    }
  };

  it('lists who holds what as far as coverage reaches, in pages of any size, and nobody who holds nothing', async () => {
    const held = [
      ['GA', USD, 4n],
      ['GA', 'native', 10n],
      ['GC', 'native', 1n],
      ['GD', 'native', 2n],
    ];
    for (const size of [1, 2, 3, 100]) expect(await pagesOf({}, size)).toEqual(held);
    const { items } = await lists().listLedgerBalances(filter, { size: 1, after: null });
    expect(items[0]).toMatchObject({
      side: 'ledger',
      name: opened.stream.name,
      state: 'derived',
      asOfLedger: 69,
      asOfAt: new Date(closeTimeOf(69) * 1000),
    });
  });

  it('lists as of an older ledger, by account and by asset', async () => {
    expect(await pagesOf({ asOfLedger: 4 }, 100)).toEqual([
      ['GA', USD, 4n],
      ['GA', 'native', 10n],
      ['GB', 'native', 10n],
    ]);
    expect(await pagesOf({ accounts: ['GD', 'GA'] }, 2)).toEqual([
      ['GA', USD, 4n],
      ['GA', 'native', 10n],
      ['GD', 'native', 2n],
    ]);
    expect(await pagesOf({ assets: [USD] }, 1)).toEqual([['GA', USD, 4n]]);
  });

  it('says that nothing is covered instead of listing nothing', async () => {
    await expect(
      lists().listLedgerBalances({ ...filter, layer: 'token_events' }, { size: 1, after: null }),
    ).rejects.toMatchObject({ reason: 'COVERAGE_GAP' });
  });

  it('lists what the book states, each ledger for which it did', async () => {
    await test.db.em().transactional(async (em) => {
      const book = await lockBook(em, 'default');
      await mergeBookBalances(em, book.id, [
        { account: 'GA', asset: 'native', amount: 10n, asOfLedger: 0 },
        { account: 'GA', asset: 'native', amount: 9n, asOfLedger: 5 },
        { account: 'GB', asset: 'native', amount: 0n, asOfLedger: 0 },
      ]);
    });
    const first = await lists().listBookBalances({ book: '' }, { size: 2, after: null });
    expect(first.items.map((row) => [row.account, row.amount, row.asOfLedger, row.state])).toEqual([
      ['GA', 10n, null, 'stated'],
      ['GA', 9n, 5, 'stated'],
    ]);
    const second = await lists().listBookBalances({ book: '' }, { size: 2, after: first.next });
    expect(second.items.map((row) => [row.account, row.amount])).toEqual([['GB', 0n]]);
    expect(second.next).toBeNull();
  });
});
