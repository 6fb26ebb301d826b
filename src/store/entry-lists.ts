// Entries as a list, newest first, each filter by an index where there is one.
import type { EntityManager } from '@mikro-orm/postgresql';
import { chunkEnd } from '../core/coverage.ts';
import type { Entry } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { EntryFilter } from '../core/listing.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import { listOrNull, sql, toDate } from './database.ts';
import { ENTRY_COLUMNS, LAYER_CODES, toEntry, type EntryRow } from './entries.ts';
import { ledgerClosedAt } from './ledger-side.ts';

/** Pairs of account and asset that one list walks side by side; with more, it filters and sorts. */
const MAX_WALKED_PAIRS = 2_000;

export interface StoredEntryRow extends Entry {
  readonly closedAt: Date;
  /** Label of the source. */
  readonly source: string;
}

/** A page, newest first: by ledger, transaction, operation and leg. Errors: INVALID_PAGE_TOKEN. */
export async function listEntryRows(
  em: EntityManager,
  streamId: number,
  filter: EntryFilter,
  page: PageRequest,
): Promise<Page<StoredEntryRow>> {
  const parts = new Conditions();
  parts.add('e.stream_id = ?', streamId);
  const hash = hashOf(filter);
  if (hash === null) return { items: [], next: null };
  const pairs = hash === undefined ? await pairsToWalk(em, streamId, filter) : null;
  // The primary key has the wanted order, and a planner without statistics walks all of it for one rare account or hash. A
  // layer inside a sum keeps that index for lists that have no other.
  parts.add(hash !== undefined || pairs !== null ? 'e.layer + 0 = ?' : 'e.layer = ?', LAYER_CODES[filter.layer]);
  if (hash !== undefined) parts.add(`e.tx_hash = decode(?, 'hex')`, hash.txHash);
  if (hash?.opIndex !== undefined) parts.add('e.op_index = ?', hash.opIndex);
  const kinds = listOrNull(filter.kinds);
  if (kinds !== null) parts.add('e.kind = any(?::text[])', kinds);
  if (filter.status !== undefined) parts.add('e.failed = ?', filter.status === 'failed');
  if (filter.subAccount !== undefined) parts.add('e.sub_account = ?', filter.subAccount);
  if (filter.ledgers !== undefined) {
    parts.add('e.ledger >= ?', filter.ledgers.from);
    parts.add('e.ledger < ?', filter.ledgers.to);
  }
  if (!(await boundByTime(em, streamId, filter, parts))) return { items: [], next: null };
  if (page.after !== null) {
    const after = readPosition(page.after);
    // The first condition is what an index can use; the second one is exact.
    parts.add('e.ledger <= ?', after.ledger);
    parts.add(
      '(e.ledger, e.tx_index, e.op_index, e.leg) < (?, ?, ?, ?)',
      after.ledger,
      after.txIndex,
      after.opIndex,
      after.leg,
    );
  }
  const statement = statementOf(filter, parts, page.size + 1, pairs);
  const rows = await sql<EntryRow & { closed_at: string; source: string }>(em, statement, parts.values);
  return pageOf(
    rows,
    page.size,
    (row) => ({ l: row.ledger, t: row.tx_index, o: row.op_index, g: row.leg }),
    (row) => ({ ...toEntry(row), closedAt: toDate(row.closed_at), source: row.source }),
  );
}

/** Newest first: what happened last is what people ask for. */
const ORDER = 'ledger desc, tx_index desc, op_index desc, leg desc';
const COLUMNS = `${ENTRY_COLUMNS}, closed_at, source_id`;

/**
 * By transaction, by account, or along the primary key. The list of a few accounts walks each of their assets on its own,
 * a page's rows at most of each, because an index over (account, asset, ledger) has no order by ledger across them.
 */
function statementOf(filter: EntryFilter, parts: Conditions, limit: number, pairs: readonly Pair[] | null): string {
  if (pairs !== null) {
    const accounts = parts.bind(pairs.map((pair) => pair.account));
    const assets = parts.bind(pairs.map((pair) => pair.asset));
    const walk = `select ${COLUMNS} from trueup.entries e
      where ${parts.text()} and e.account = pair.account and e.asset = pair.asset order by ${ORDER} limit ${limit}`;
    return withSource(`select leg.* from unnest(${accounts}::text[], ${assets}::text[]) as pair (account, asset)
      cross join lateral (${walk}) as leg order by ${ORDER} limit ${limit}`);
  }
  const [accounts, assets] = [listOrNull(filter.accounts), listOrNull(filter.assets)];
  if (accounts !== null) parts.add('e.account = any(?::text[])', accounts);
  if (assets !== null) parts.add('e.asset = any(?::text[])', assets);
  return withSource(`select ${COLUMNS} from trueup.entries e where ${parts.text()} order by ${ORDER} limit ${limit}`);
}

interface Pair {
  readonly account: string;
  readonly asset: string;
}

/** The pairs that a list by account walks; null where it goes another way: no accounts were given, or they hold too many assets. */
async function pairsToWalk(em: EntityManager, streamId: number, filter: EntryFilter): Promise<Pair[] | null> {
  const accounts = [...new Set(filter.accounts ?? [])];
  if (accounts.length === 0) return null;
  const assets = [...new Set(filter.assets ?? [])];
  const pairs =
    assets.length > 0
      ? accounts.flatMap((account) => assets.map((asset) => ({ account, asset })))
      : await sql<Pair & Record<string, unknown>>(em, PAIRS_SQL, [streamId, accounts]);
  return pairs.length > MAX_WALKED_PAIRS ? null : pairs;
}

/** The assets that each account has legs in, found by skipping through the index. */
const PAIRS_SQL = `
  with recursive pair as (
    select first.account, first.asset from unnest($2::text[]) as wanted cross join lateral
      (select account, asset from trueup.entries where stream_id = $1 and account = wanted order by asset limit 1) as first
    union all
    select next.account, next.asset from pair cross join lateral
      (select account, asset from trueup.entries
       where stream_id = $1 and account = pair.account and asset > pair.asset order by asset limit 1) as next)
  select account, asset from pair limit ${MAX_WALKED_PAIRS + 1}`;

// The inner columns carry the hash already as text, so they are named, not selected again.
function withSource(inner: string): string {
  return `select row.*, s.label as source from (${inner}) as row join trueup.sources s on s.id = row.source_id order by ${ORDER}`;
}

/** Times become ledgers where stored chunks tell; false where everything stored closed before the first of them. */
async function boundByTime(
  em: EntityManager,
  streamId: number,
  filter: EntryFilter,
  parts: Conditions,
): Promise<boolean> {
  if (filter.from !== undefined) {
    const first = await ledgerClosedAt(em, streamId, filter.layer, filter.from.getTime());
    if (first === null) return false;
    parts.add('e.ledger >= ?', first);
    parts.add('e.closed_at >= ?', filter.from);
  }
  if (filter.to !== undefined) {
    const last = await ledgerClosedAt(em, streamId, filter.layer, filter.to.getTime());
    if (last !== null) parts.add('e.ledger < ?', chunkEnd(last));
    parts.add('e.closed_at < ?', filter.to);
  }
  return true;
}

/** Undefined: not asked for; null: no entry can have such a key. */
function hashOf(filter: EntryFilter): { txHash: string; opIndex?: number } | null | undefined {
  if (filter.matchKey === undefined) return filter.txHash === undefined ? undefined : { txHash: filter.txHash };
  const match = /^([0-9a-f]{64})(?::(\d{1,9}))?$/i.exec(filter.matchKey);
  const txHash = match?.[1]?.toLowerCase();
  if (txHash === undefined || (filter.txHash !== undefined && filter.txHash !== txHash)) return null;
  return match?.[2] === undefined ? { txHash } : { txHash, opIndex: Number(match[2]) };
}

function readPosition(position: PagePosition): { ledger: number; txIndex: number; opIndex: number; leg: number } {
  const { l: ledger, t: txIndex, o: opIndex, g: leg } = position;
  if (![ledger, txIndex, opIndex, leg].every(Number.isSafeInteger)) {
    throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
  }
  return { ledger: ledger as number, txIndex: txIndex as number, opIndex: opIndex as number, leg: leg as number };
}

/** Conditions with their values, numbered in the order in which they were added. */
class Conditions {
  readonly values: unknown[] = [];
  readonly #texts: string[] = [];

  add(text: string, ...values: unknown[]): void {
    let at = 0;
    this.#texts.push(text.replaceAll('?', () => this.bind(values[at++])));
  }

  bind(value: unknown): string {
    return `$${this.values.push(value)}`;
  }

  text(): string {
    return this.#texts.join(' and ');
  }
}
