// Goal: entries and book rows are listed in one fixed order, page by page without loss or repetition, whatever the filter.
// Method: ledgers by hand in a real database; every filter's pages are compared with a plain filter over all of them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ListedEntry, EntryFilter } from '../../src/core/listing.ts';
import { entryIdOf } from '../../src/core/entry-id.ts';
import type { PagePosition } from '../../src/core/page.ts';
import { createEntryLists, type EntryLists } from '../../src/services/ledger-entries.ts';
import { lockBook, mergeBookRows } from '../../src/store/book-writes.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import {
  closeTimeOf,
  commitByHand,
  entryByHand,
  openTestStream,
  type EntryByHand,
  type OpenedStream,
} from '../_util/ledger-rows.ts';

let test: TestDatabase;
let opened: OpenedStream;
let lists: EntryLists;
const PASSPHRASE = 'lists';
const ALL: EntryFilter = { stream: null, layer: 'operations' };

const ENTRIES: EntryByHand[] = Array.from({ length: 300 }, (_, n) => ({
  ledger: 1 + Math.floor(n / 3),
  txIndex: 1 + (n % 2),
  opIndex: 1 + (n % 3),
  leg: n % 2,
  account: `GACCOUNT${n % 7}`,
  asset: n % 4 === 0 ? 'USD:GISSUER' : 'native',
  amount: BigInt(n - 150),
  kind: n % 5 === 0 ? 'fee' : 'payment',
  status: n % 11 === 0 ? 'failed' : 'success',
  subAccount: n % 13 === 0 ? 'invoice' : null,
  subAccountType: n % 13 === 0 ? 'memo_text' : null,
}));

beforeAll(async () => {
  test = await createTestDatabase();
  opened = await openTestStream(test.db, { passphrase: PASSPHRASE });
  await commitByHand(test.db, opened, { from: 1, to: 101 }, ENTRIES);
  lists = createEntryLists({ db: test.db, networkPassphrase: PASSPHRASE });
});
afterAll(() => test.drop());

async function allPages(filter: EntryFilter, size: number): Promise<ListedEntry[]> {
  const found: ListedEntry[] = [];
  for (let after: PagePosition | null = null; ;) {
    // A position survives a page token, which is JSON.
    const page = await lists.listEntries(filter, {
      size,
      after: after === null ? null : (JSON.parse(JSON.stringify(after)) as PagePosition),
    });
    expect(page.items.length).toBeLessThanOrEqual(size);
    found.push(...page.items);
    if (page.next === null) return found;
    after = page.next;
  }
}

const idsOf = (entries: readonly ListedEntry[]) => entries.map((entry) => entryIdOf(entry.stream, entry));

function expected(keep: (entry: ListedEntry) => boolean): string[] {
  return ENTRIES.map((given) => ({
    ...entryByHand(given),
    stream: opened.stream.name,
    closedAt: new Date(closeTimeOf(given.ledger) * 1000),
    source: null,
  }))
    .filter(keep)
    .sort((a, b) => b.ledger - a.ledger || b.txIndex - a.txIndex || b.opIndex - a.opIndex || b.leg - a.leg)
    .map((entry) => entryIdOf(entry.stream, entry));
}

describe('listing entries', () => {
  it.each<[string, Omit<EntryFilter, 'stream' | 'layer'>, (entry: ListedEntry) => boolean]>([
    ['nothing', {}, () => true],
    [
      'accounts',
      { accounts: ['GACCOUNT1', 'GACCOUNT5', 'GACCOUNT1'] },
      (e) => ['GACCOUNT1', 'GACCOUNT5'].includes(e.account),
    ],
    [
      'accounts and assets',
      { accounts: ['GACCOUNT1', 'GACCOUNT2'], assets: ['USD:GISSUER'] },
      (e) => ['GACCOUNT1', 'GACCOUNT2'].includes(e.account) && e.asset !== 'native',
    ],
    ['assets', { assets: ['USD:GISSUER'] }, (e) => e.asset !== 'native'],
    ['kinds', { kinds: ['fee'] }, (e) => e.kind === 'fee'],
    ['status', { status: 'failed' }, (e) => e.status === 'failed'],
    ['a sub-account', { subAccount: 'invoice' }, (e) => e.subAccount === 'invoice'],
    ['ledgers', { ledgers: { from: 20, to: 31 } }, (e) => e.ledger >= 20 && e.ledger < 31],
    [
      'accounts in ledgers',
      { accounts: ['GACCOUNT3'], ledgers: { from: 20, to: 81 }, kinds: ['payment'] },
      (e) => e.account === 'GACCOUNT3' && e.ledger >= 20 && e.ledger < 81 && e.kind === 'payment',
    ],
    [
      'times',
      { from: new Date(closeTimeOf(40) * 1000), to: new Date(closeTimeOf(70) * 1000) },
      (e) => e.ledger >= 40 && e.ledger < 70,
    ],
  ])('filters by %s, the same entries whatever the page size', async (_name, filter, keep) => {
    const wanted = expected(keep);
    expect(wanted.length).toBeGreaterThan(3);
    for (const size of [1000, 7]) expect(idsOf(await allPages({ ...ALL, ...filter }, size))).toEqual(wanted);
  });

  it('finds a transaction by its hash, and an operation by its match key', async () => {
    const { txHash } = entryByHand(ENTRIES[30]!);
    const ofTransaction = expected((e) => e.txHash === txHash);
    expect(idsOf(await allPages({ ...ALL, txHash: txHash! }, 50))).toEqual(ofTransaction);
    expect(idsOf(await allPages({ ...ALL, matchKey: txHash! }, 50))).toEqual(ofTransaction);
    const opIndex = entryByHand(ENTRIES[30]!).opIndex;
    expect(idsOf(await allPages({ ...ALL, matchKey: `${txHash}:${opIndex}` }, 50))).toEqual(
      expected((e) => e.txHash === txHash && e.opIndex === opIndex),
    );
    expect(await allPages({ ...ALL, matchKey: 'invoice-17' }, 50)).toEqual([]);
    const account = entryByHand(ENTRIES[30]!).account;
    expect(idsOf(await allPages({ ...ALL, txHash: txHash!, accounts: [account] }, 50))).toEqual(
      expected((e) => e.txHash === txHash && e.account === account),
    );
  });

  it('carries where and when an entry was read, and its id names its place', async () => {
    const items = (await allPages(ALL, 1000)).slice(-1);
    expect(items[0]).toMatchObject({
      stream: opened.stream.name,
      closedAt: new Date(closeTimeOf(1) * 1000),
      source: { source: 'stellar-archive:by-hand', kind: 'stellar-archive' },
    });
    expect(entryIdOf(items[0]!.stream, items[0]!)).toBe(`${opened.stream.name}/1-1-1-0-o`);
  });

  it('keeps the layers apart', async () => {
    expect(await allPages({ ...ALL, layer: 'token_events' }, 50)).toEqual([]);
  });

  it('says that there is no such stream, or none yet, instead of listing nothing', async () => {
    await expect(lists.listEntries({ ...ALL, stream: 'nowhere' }, { size: 1, after: null })).rejects.toMatchObject({
      reason: 'STREAM_NOT_FOUND',
    });
    const other = createEntryLists({ db: test.db, networkPassphrase: 'a network that never answered' });
    await expect(other.listEntries(ALL, { size: 1, after: null })).rejects.toMatchObject({
      reason: 'STREAM_NOT_FOUND',
      message: expect.stringContaining('no stream is open yet'),
    });
  });

  it('refuses a range upside down and a position of another list', async () => {
    await expect(
      lists.listEntries({ ...ALL, ledgers: { from: 9, to: 9 } }, { size: 1, after: null }),
    ).rejects.toMatchObject({ reason: 'INVALID_LEDGER_RANGE' });
    await expect(lists.listEntries(ALL, { size: 1, after: { id: '7' } })).rejects.toMatchObject({
      reason: 'INVALID_PAGE_TOKEN',
    });
  });

  it('ends a list that no index helps with at its limit, and says how to narrow it', async () => {
    const hurried = createEntryLists({ db: test.db, networkPassphrase: PASSPHRASE, statementTimeoutMs: 1 });
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => hurried.listEntries({ ...ALL, kinds: ['fee'] }, { size: 1000, after: null })),
    );
    for (const answer of answers) {
      if (answer.status === 'rejected')
        expect(answer.reason).toMatchObject({
          reason: 'DEADLINE_EXCEEDED',
          details: { fix: expect.stringContaining('narrow') },
        });
    }
  });
});

describe('listing book rows', () => {
  const HASH = 'ab'.repeat(32);
  beforeAll(async () => {
    await test.db.em().transactional(async (em) => {
      const book = await lockBook(em, 'default');
      const row = {
        account: 'GACCOUNT1',
        asset: 'native',
        amount: 5n,
        kind: null,
        counterparty: null,
        status: null,
        subAccount: null,
        occurredAt: null,
        ledger: null,
        retracted: false,
      };
      await mergeBookRows(em, book.id, [
        { ...row, rowId: 'r1', key: HASH, status: 'completed' },
        { ...row, rowId: 'r2', key: `${HASH}:2`, status: 'failed', ledger: 7 },
        { ...row, rowId: 'r3', key: `${HASH.slice(0, 63)}c`, account: 'GACCOUNT2' },
        {
          ...row,
          rowId: 'r4',
          key: 'invoice',
          kind: 'payment',
          retracted: true,
          occurredAt: new Date('2026-01-02T00:00:00Z'),
        },
      ]);
    });
  });
  const rowIds = async (filter: object, size = 50) => {
    const ids: string[] = [];
    for (let after: PagePosition | null = null; ;) {
      const page = await lists.listRows({ book: '', ...filter }, { size, after });
      ids.push(...page.items.map((row) => row.rowId));
      if (page.next === null) return ids;
      after = page.next;
    }
  };

  it('lists every row in order of its id, retracted ones too, page by page', async () => {
    expect(await rowIds({})).toEqual(['r1', 'r2', 'r3', 'r4']);
    expect(await rowIds({}, 1)).toEqual(['r1', 'r2', 'r3', 'r4']);
  });

  it('filters by key, transaction, account, status, kind, ledger and time', async () => {
    expect(await rowIds({ key: HASH })).toEqual(['r1']);
    expect(await rowIds({ txHash: HASH })).toEqual(['r1', 'r2']);
    expect(await rowIds({ accounts: ['GACCOUNT2'] })).toEqual(['r3']);
    expect(await rowIds({ status: 'failed' })).toEqual(['r2']);
    expect(await rowIds({ status: 'success' })).toEqual(['r1', 'r3', 'r4']);
    expect(await rowIds({ kinds: ['payment'] })).toEqual(['r4']);
    expect(await rowIds({ ledgers: { from: 7, to: 8 } })).toEqual(['r2']);
    expect(await rowIds({ from: new Date('2026-01-01T00:00:00Z'), to: new Date('2026-01-03T00:00:00Z') })).toEqual([
      'r4',
    ]);
  });

  it('says that a book is unknown instead of listing nothing', async () => {
    await expect(lists.listRows({ book: 'none' }, { size: 5, after: null })).rejects.toMatchObject({
      reason: 'BOOK_NOT_FOUND',
    });
  });
});
