// Listing balances: the ledger's, derived up to a ledger, and those that the book states.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { BalanceFilter, BookBalanceFilter, ListedBalance } from '../core/listing.ts';
import type { Page, PagePosition, PageRequest } from '../core/page.ts';
import { listLedgerPairs } from '../store/balance-pairs.ts';
import { balancesOfPairs, type PairBalance } from '../store/balances.ts';
import { listBookBalancePage } from '../store/book-lists.ts';
import { findBook, requireBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';
import { LIST_STATEMENT_TIMEOUT_MS, withinListLimit } from '../store/query-limit.ts';
import { closeTimeOfLedger, contiguousLedger } from '../store/status.ts';
import type { Stream } from '../store/streams.ts';
import { DEFAULT_BOOK } from './ledger-entries.ts';
import { chooseStream, provenanceOf } from './stream-choice.ts';

export interface BalanceListsOptions {
  readonly db: Database;
  /** Of the source that is configured; null: the newest stream is meant where none is named. */
  readonly networkPassphrase: string | null;
  readonly statementTimeoutMs?: number;
}

export interface BalanceLists {
  /**
   * In byte order of account and asset; a balance that is known to be zero has no row. Errors: STREAM_NOT_FOUND,
   * RANGE_BEYOND_TIP, COVERAGE_GAP where nothing is covered yet, INVALID_PAGE_TOKEN, DEADLINE_EXCEEDED.
   */
  listLedgerBalances(filter: BalanceFilter, page: PageRequest): Promise<Page<ListedBalance>>;
  /** Every balance that was stated, in byte order of account and asset, then by its ledger. Errors: BOOK_NOT_FOUND. */
  listBookBalances(filter: BookBalanceFilter, page: PageRequest): Promise<Page<ListedBalance>>;
}

/** Pairs that one page looks at before it is handed out as it is: most pairs may have come down to zero. */
const MAX_PAIRS_PER_PAGE = 10_000;

export function createBalanceLists(options: BalanceListsOptions): BalanceLists {
  const { db, networkPassphrase, statementTimeoutMs = LIST_STATEMENT_TIMEOUT_MS } = options;
  const fix = 'narrow it to fewer accounts, or ask for smaller pages';
  return {
    listLedgerBalances: (filter, page) =>
      withinListLimit(
        db.em(),
        fix,
        async (em) => ledgerPage(em, await chooseStream(em, filter.stream, networkPassphrase), filter, page),
        statementTimeoutMs,
      ),
    async listBookBalances(filter, page) {
      const name = filter.book === '' ? DEFAULT_BOOK : filter.book;
      return withinListLimit(
        db.em(),
        fix,
        async (em) => {
          const book = requireBook(await findBook(em, name), name);
          const { items, ...rest } = await listBookBalancePage(em, book.id, filter, page);
          return {
            ...rest,
            items: items.map((row): ListedBalance => ({
              side: 'book',
              name: book.name,
              account: row.account,
              asset: row.asset,
              amount: row.amount,
              state: 'stated',
              reasons: [],
              asOfLedger: row.asOfLedger === 0 ? null : row.asOfLedger,
              asOfAt: row.recordedAt,
              openingLedger: null,
              openingAmount: null,
              legsAmount: null,
              source: null,
            })),
          };
        },
        statementTimeoutMs,
      );
    },
  };
}

async function ledgerPage(
  em: EntityManager,
  stream: Stream,
  filter: BalanceFilter,
  page: PageRequest,
): Promise<Page<ListedBalance>> {
  // A list that goes on is of the same ledger as its first page, however far the follower has come meanwhile.
  const asOfLedger = page.after === null ? await ledgerToList(em, stream, filter) : Number(page.after['n']);
  const closedAt = await closeTimeOfLedger(em, stream.id, filter.layer, asOfLedger);
  const found: PairBalance[] = [];
  let last = page.after === null ? null : pairOf(page.after);
  for (let looked = 0; looked < MAX_PAIRS_PER_PAGE; looked += page.size + 1) {
    const pairs = await listLedgerPairs(em, stream.id, filter, last, page.size + 1);
    const balances = await balancesOfPairs(
      em,
      stream.id,
      filter.layer,
      pairs.map((pair) => ({ ...pair, asOfLedger })),
    );
    for (const balance of balances) {
      if (found.length === page.size) return pageOfBalances(stream, found, last, asOfLedger, closedAt);
      if (isHeld(balance)) found.push(balance);
      last = balance;
    }
    if (pairs.length <= page.size) return pageOfBalances(stream, found, null, asOfLedger, closedAt);
  }
  return pageOfBalances(stream, found, last, asOfLedger, closedAt);
}

function pageOfBalances(
  stream: Stream,
  found: readonly PairBalance[],
  last: { account: string; asset: string } | null,
  asOfLedger: number,
  closedAt: Date | null,
): Page<ListedBalance> {
  return {
    items: found.map((balance) => toListed(stream, balance, closedAt)),
    next: last === null ? null : { c: last.account, a: last.asset, n: asOfLedger },
  };
}

/** An account that holds none has no row; where it isn't derived, zero isn't known to be none. */
function isHeld(balance: PairBalance): boolean {
  const issues = balance.asset.endsWith(`:${balance.account}`);
  if (issues || balance.state === 'derived') return !issues && balance.amount !== 0n;
  return balance.legCount > 0 || balance.openingLedger !== null;
}

function toListed(stream: Stream, balance: PairBalance, closedAt: Date | null): ListedBalance {
  return {
    side: 'ledger',
    name: stream.name,
    account: balance.account,
    asset: balance.asset,
    amount: balance.amount,
    state: balance.state,
    reasons: balance.state === 'no_opening' ? [whyNoOpening(balance)] : balance.reasons,
    asOfLedger: balance.asOfLedger,
    asOfAt: closedAt,
    openingLedger: balance.openingLedger,
    openingAmount: balance.openingAmount,
    legsAmount: balance.legsAmount,
    source: balance.openingSource === null ? null : provenanceOf(balance.openingSource, balance.openingRecordedAt),
  };
}

function whyNoOpening({ missing, openingLedger }: PairBalance): string {
  const first = missing[0];
  const ranges =
    first === undefined
      ? ''
      : `; not covered: ledgers ${first.from}-${first.to - 1}${missing.length > 1 ? ` and ${missing.length - 1} more ranges` : ''}`;
  return openingLedger === null
    ? `no opening balance to count from${ranges}`
    : `not all legs since the opening at ledger ${openingLedger} are covered${ranges}`;
}

async function ledgerToList(em: EntityManager, stream: Stream, filter: BalanceFilter): Promise<number> {
  const through = await contiguousLedger(em, stream.id, filter.layer);
  if (filter.asOfLedger === null || filter.asOfLedger === 0) {
    if (through !== null) return through;
    throw new TrueUpError('COVERAGE_GAP', `nothing of the ${filter.layer} layer of ${stream.name} is covered yet`, {
      fix: 'wait for the follower, or name the ledger in as_of_ledger',
    });
  }
  return filter.asOfLedger;
}

function pairOf(position: PagePosition): { account: string; asset: string } {
  const { c: account, a: asset, n: ledger } = position;
  if (typeof account === 'string' && typeof asset === 'string' && Number.isSafeInteger(ledger))
    return { account, asset };
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}
