// The ledger's half of a run: one snapshot, read in the order of the match key by a cursor, or by key.
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import { CHUNK_LEDGERS, type LedgerRange } from '../core/ledger.ts';
import type { Item } from '../core/match.ts';
import type { FeeTotal } from '../core/run.ts';
import { sql } from './database.ts';
import { asOfCondition, type LedgerAsOf } from './ledger-as-of.ts';
import { LAYER_CODES } from './entries.ts';

/** Rows fetched at once: few enough to be dead before the young generation is collected twice, so that memory is flat at any size. */
const FETCH_ROWS = 1000;
/** Payers listed on a run. */
const MAX_FEE_TOTALS = 1000;

/** How a match key is written. */
export type LedgerKeyForm = 'hash' | 'hash:op' | 'toid' | 'sub_account';

export interface KeyedItem {
  readonly key: string;
  readonly item: Item;
}

export interface LedgerScope {
  readonly streamId: number;
  readonly layer: Layer;
  readonly form: LedgerKeyForm;
  /** Kinds that take part; fees and genesis don't unless a policy says so. */
  readonly kinds: readonly string[];
  /** Null: every account. */
  readonly accounts: readonly string[] | null;
  /** Ledgers left out where a range is read; legs that are asked for by key are never left out. Absent: none. */
  readonly except?: readonly LedgerRange[];
  /** Leaves out what was stored after an earlier moment; absent: everything that is there. */
  readonly asOf?: LedgerAsOf | null;
}

const KEY_SQL: Readonly<Record<LedgerKeyForm, string>> = {
  hash: `encode(tx_hash, 'hex')`,
  'hash:op': `encode(tx_hash, 'hex') || ':' || op_index::text`,
  // Horizon's id of an operation: ledger, transaction and operation packed into 64 bits.
  toid: `((ledger::bigint << 32) | (tx_index::bigint << 12) | op_index)::text`,
  // As core/sub-account-key.ts writes it.
  sub_account: `account || '|' || asset || '|' || amount::text || '|' || coalesce(sub_account, '')`,
};

const ITEM_COLUMNS = `account, asset, amount::text as amount, kind, failed, counterparty, sub_account,
  extract(epoch from closed_at)::bigint::text as closed_at, ledger, encode(tx_hash, 'hex') as tx_hash, tx_index, op_index, leg`;

interface ItemRow {
  key: string;
  account: string;
  asset: string;
  amount: string;
  kind: string;
  failed: boolean;
  counterparty: string | null;
  sub_account: string | null;
  closed_at: string;
  ledger: number;
  tx_hash: string | null;
  tx_index: number;
  op_index: number;
  leg: number;
}

/** Legs of a ledger range in byte order of their key, those after one, in batches. */
export async function* readLedgerItems(
  em: EntityManager,
  scope: LedgerScope,
  range: LedgerRange,
  afterKey: string | null = null,
): AsyncGenerator<KeyedItem[]> {
  await sql(
    em,
    `declare ledger_side no scroll cursor for
     select (${KEY_SQL[scope.form]}) collate "C" as key, ${ITEM_COLUMNS} from trueup.entries
     where stream_id = $1 and layer = $2 and ledger >= $3 and ledger < $4 and kind = any($5::text[])
       and ($6::text[] is null or account = any($6)) and tx_hash is not null
       and ($7::text is null or (${KEY_SQL[scope.form]}) collate "C" > $7) ${asOfCondition(scope)} ${exceptCondition(range, scope.except)}
     order by 1`,
    [scope.streamId, LAYER_CODES[scope.layer], range.from, range.to, scope.kinds, scope.accounts, afterKey],
  );
  try {
    for (;;) {
      const rows = await sql<ItemRow>(em, `fetch ${FETCH_ROWS} from ledger_side`);
      if (rows.length > 0) yield rows.map(toKeyedItem);
      if (rows.length < FETCH_ROWS) return;
    }
  } finally {
    await sql(em, 'close ledger_side').catch(() => undefined);
  }
}

/** The stretches that are left, as plain numbers: each is a step along the primary key. */
function exceptCondition(range: LedgerRange, except: readonly LedgerRange[] = []): string {
  if (except.length === 0) return '';
  const left = subtract(range, except).map(({ from, to }) => `(ledger >= ${from} and ledger < ${to})`);
  return `and (${left.join(' or ') || 'false'})`;
}

/** Legs of the given keys, of any account and any ledger before `before`. */
export async function readLedgerItemsByKeys(
  em: EntityManager,
  scope: LedgerScope,
  keys: readonly string[],
  before: number,
): Promise<KeyedItem[]> {
  const [condition, values] = keyCondition(scope.form, keys);
  if (values.length === 0) return [];
  const rows = await sql<ItemRow>(
    em,
    `select ${KEY_SQL[scope.form]} as key, ${ITEM_COLUMNS} from trueup.entries
     where stream_id = $1 and layer = $2 and ledger < $3 and kind = any($4::text[]) and ${condition}
       ${asOfCondition(scope)}`,
    [scope.streamId, LAYER_CODES[scope.layer], before, scope.kinds, values],
  );
  const wanted = new Set(keys);
  return rows.map(toKeyedItem).filter(({ key }) => wanted.has(key));
}

/** Fees and refunds per payer, outside the matching. */
export async function feeTotals(em: EntityManager, scope: LedgerScope, range: LedgerRange): Promise<FeeTotal[]> {
  const rows = await sql<{ account: string; asset: string; amount: string; count: string }>(
    em,
    `select account, asset, sum(amount)::text as amount, count(*)::text as count from trueup.entries
     where stream_id = $1 and layer = $2 and ledger >= $3 and ledger < $4 and kind in ('fee', 'fee_refund')
       and ($5::text[] is null or account = any($5)) ${asOfCondition(scope)}
     group by account, asset order by sum(amount), account limit ${MAX_FEE_TOTALS}`,
    [scope.streamId, LAYER_CODES[scope.layer], range.from, range.to, scope.accounts],
  );
  return rows.map((row) => ({
    account: row.account,
    asset: row.asset,
    amount: -BigInt(row.amount),
    count: Number(row.count),
  }));
}

/** Ids are 64-bit with a sign; a key that is none of them names nothing on the ledger. */
const LAST_TOID = 2n ** 63n - 1n;

/** Each form's keys reach the entries by an index: the transaction's hash, or the position itself. */
function keyCondition(form: LedgerKeyForm, keys: readonly string[]): [string, string[]] {
  if (form === 'toid') {
    const ids = keys.filter((key) => /^\d{1,19}$/.test(key) && BigInt(key) <= LAST_TOID);
    return [
      `(ledger, tx_index, op_index) in
       (select (id >> 32)::int, ((id >> 12) & 1048575)::int, (id & 4095)::int from unnest($5::bigint[]) as id)`,
      ids,
    ];
  }
  if (form === 'sub_account') {
    return [
      `account = any(array(select distinct split_part(key, '|', 1) from unnest($5::text[]) as key)) and ${KEY_SQL[form]} = any($5)`,
      [...keys],
    ];
  }
  const hashes = keys.map((key) => key.slice(0, 64)).filter((hash) => /^[0-9a-f]{64}$/.test(hash));
  return [`tx_hash = any(array(select decode(hash, 'hex') from unnest($5::text[]) as hash))`, [...new Set(hashes)]];
}

function toKeyedItem(row: ItemRow): KeyedItem {
  return {
    key: row.key,
    item: {
      account: row.account,
      asset: row.asset,
      amount: BigInt(row.amount),
      kind: row.kind,
      status: row.failed ? 'failed' : 'success',
      counterparty: row.counterparty,
      subAccount: row.sub_account,
      atMs: Number(row.closed_at) * 1000,
      ledger: row.ledger,
      txHash: row.tx_hash,
      rowIds: [`${row.ledger}-${row.tx_index}-${row.op_index}-${row.leg}`],
    },
  };
}

export interface LedgerMoment {
  readonly nowMs: number;
  readonly position: string;
}

/** The moment of this snapshot: the database's clock, and its position in commit order. */
export async function snapshotMoment(em: EntityManager): Promise<LedgerMoment> {
  const rows = await sql<{ now_ms: string; position: string }>(
    em,
    `select (extract(epoch from now()) * 1000)::bigint::text as now_ms, pg_current_snapshot()::text as position`,
  );
  return { nowMs: Number(rows[0]!.now_ms), position: rows[0]!.position };
}

/**
 * The ledger after the last one known to have closed before a time; null where none is. Chunks know when their last ledger
 * closed, so it is at most 63 ledgers early, and never after a stretch that wasn't read.
 */
export async function ledgerAfterTime(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  timeMs: number,
): Promise<number | null> {
  const rows = await sql<{ to_ledger: number }>(
    em,
    `select to_ledger from trueup.coverage_chunks
     where stream_id = $1 and layer = $2 and state = 'done' and last_closed_at < to_timestamp($3::double precision / 1000)
     order by last_closed_at desc limit 1`,
    [streamId, LAYER_CODES[layer], Math.max(0, timeMs)],
  );
  return rows[0]?.to_ledger ?? null;
}

/**
 * The first ledger that closed at or after a time, as far as stored rows tell: chunks know when their last ledger closed, so this
 * is the start of the chunk in which it lies, at most 63 ledgers early.
 */
export async function ledgerClosedAt(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  closedMs: number,
): Promise<number | null> {
  const rows = await sql<{ from_ledger: number }>(
    em,
    `select from_ledger from trueup.coverage_chunks
     where stream_id = $1 and layer = $2 and state = 'done' and last_closed_at >= to_timestamp($3::double precision / 1000)
     order by last_closed_at limit 1`,
    [streamId, LAYER_CODES[layer], closedMs],
  );
  return rows[0]?.from_ledger ?? null;
}

/** When the stored ledger nearest before (and at) one closed, Unix ms; null where none before it has a time. */
export async function closeTimeBefore(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  ledger: number,
): Promise<number | null> {
  return closeTime(em, [streamId, LAYER_CODES[layer], ledger], {
    pick: 'greatest',
    entry: 'entry.ledger <= $3 order by ledger desc',
    chunk: 'chunk.from_ledger <= $3 and chunk.to_ledger <= $3::int + 1 order by from_ledger desc',
    fold: 'max',
  });
}

/** When the stored ledger nearest after (and at) one closed, Unix ms; null where none after it has a time. */
export async function closeTimeAfter(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  ledger: number,
): Promise<number | null> {
  return closeTime(em, [streamId, LAYER_CODES[layer], ledger], {
    pick: 'least',
    entry: 'entry.ledger >= $3 order by ledger',
    chunk: `chunk.from_ledger > $3::int - ${CHUNK_LEDGERS} and chunk.to_ledger > $3 order by from_ledger`,
    fold: 'min',
  });
}

/** Every part is one step along a primary key: entries by ledger, chunks by ledger within each watch set. */
async function closeTime(
  em: EntityManager,
  values: readonly unknown[],
  how: { pick: string; entry: string; chunk: string; fold: string },
): Promise<number | null> {
  const rows = await sql<{ closed_ms: string | null }>(
    em,
    `select (extract(epoch from ${how.pick}(
         (select closed_at from trueup.entries as entry where stream_id = $1 and layer = $2 and ${how.entry} limit 1),
         (select ${how.fold}(nearest.last_closed_at) from trueup.watch_sets as watch_set cross join lateral (
            select last_closed_at from trueup.coverage_chunks as chunk
            where chunk.stream_id = $1 and chunk.layer = $2 and chunk.watch_set_id = watch_set.id and chunk.state = 'done'
              and chunk.last_closed_at is not null and ${how.chunk} limit 1) as nearest
          where watch_set.stream_id = $1))) * 1000)::bigint::text as closed_ms`,
    values,
  );
  const value = rows[0]?.closed_ms ?? null;
  return value === null ? null : Number(value);
}
