// Entries: written in bulk, read by range, by transaction, by account.
import type { EntityManager } from '@mikro-orm/postgresql';
import { type Entry, type Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { arrayLiteral } from './array-literal.ts';
import { sql, sqlCount } from './database.ts';
import { isUniqueViolation } from './db-errors.ts';

/**
 * Rows a statement, one array a column: 125 k rows/s against 33 k through the unit of work and 74 k by a VALUES list
 * (100 k rows, two cores). The first statement is short, as the server waits while it is put together; the others are long,
 * as it works on each while this process digests and decodes.
 */
const FIRST_INSERT_ROWS = 1000;
const INSERT_ROWS = 5000;

export const LAYER_CODES: Readonly<Record<Layer, number>> = { operations: 0, token_events: 1 };
export const LAYER_OF_CODE: readonly Layer[] = ['operations', 'token_events'];

export interface EntryToStore {
  readonly entry: Entry;
  /** Unix seconds. */
  readonly closeTime: number;
}

/**
 * Writes entries that aren't there yet; returns how many were new. Rows already there are left as they are.
 *
 * Nearly always all of them are new. So it is first tried without ON CONFLICT, which costs the server a sixth more time, and
 * only where one is there already again with it; the savepoint between them is one statement a batch.
 */
export async function insertEntries(
  em: EntityManager,
  streamId: number,
  sourceId: number,
  rows: readonly EntryToStore[],
): Promise<number> {
  try {
    return await em.transactional((inner) => insertAll(inner, INSERT_SQL, streamId, sourceId, rows));
  } catch (error) {
    if (!isUniqueViolation(error, 'entries_pkey')) throw error;
    return insertAll(em, `${INSERT_SQL} on conflict do nothing`, streamId, sourceId, rows);
  }
}

async function insertAll(
  em: EntityManager,
  statement: string,
  streamId: number,
  sourceId: number,
  rows: readonly EntryToStore[],
): Promise<number> {
  let inserted = 0;
  let underWay: Promise<number> | undefined;
  for (let from = 0, to = FIRST_INSERT_ROWS; from < rows.length; [from, to] = [to, to + INSERT_ROWS]) {
    // The next statement is put together while the server works on this one.
    const columns = columnsOf(rows.slice(from, to));
    inserted += (await underWay) ?? 0;
    underWay = sqlCount(em, statement, [streamId, sourceId, ...columns]);
  }
  return inserted + ((await underWay) ?? 0);
}

function columnsOf(rows: readonly EntryToStore[]): string[] {
  return [
    arrayLiteral(rows.map(({ entry }) => LAYER_CODES[entry.layer])),
    arrayLiteral(rows.map(({ entry }) => entry.ledger)),
    arrayLiteral(rows.map(({ entry }) => entry.txIndex)),
    arrayLiteral(rows.map(({ entry }) => entry.opIndex)),
    arrayLiteral(rows.map(({ entry }) => entry.leg)),
    arrayLiteral(rows.map(({ entry }) => entry.txHash && `\\x${entry.txHash}`)),
    arrayLiteral(rows.map(({ entry }) => entry.account)),
    arrayLiteral(rows.map(({ entry }) => entry.asset)),
    arrayLiteral(rows.map(({ entry }) => entry.amount)),
    arrayLiteral(rows.map(({ entry }) => entry.kind)),
    arrayLiteral(rows.map(({ entry }) => entry.counterparty)),
    arrayLiteral(rows.map(({ entry }) => entry.status === 'failed')),
    arrayLiteral(rows.map(({ entry }) => entry.resultCode)),
    arrayLiteral(rows.map(({ entry }) => entry.subAccount)),
    arrayLiteral(rows.map(({ entry }) => entry.subAccountType)),
    arrayLiteral(rows.map(({ closeTime }) => closeTime)),
  ];
}

// Arrays opened in the select list go straight into the table; in the from clause each is first stored apart. Counted by
// the server's own answer: collecting the new rows to count them cost a tenth of the time.
const INSERT_SQL = `
  insert into trueup.entries (stream_id, source_id, layer, ledger, tx_index, op_index, leg, tx_hash, account, asset,
    amount, kind, counterparty, failed, result_code, sub_account, sub_account_type, closed_at)
  select $1, $2, unnest($3::smallint[]), unnest($4::int[]), unnest($5::int[]), unnest($6::int[]), unnest($7::int[]),
    unnest($8::bytea[]), unnest($9::text[]), unnest($10::text[]), unnest($11::numeric[]), unnest($12::text[]),
    unnest($13::text[]), unnest($14::boolean[]), unnest($15::text[]), unnest($16::text[]), unnest($17::text[]),
    to_timestamp(unnest($18::bigint[]))`;

export interface StoredEntry extends Entry {
  readonly closedAt: Date;
  readonly source: string;
}

export interface EntryRow {
  layer: number;
  ledger: number;
  tx_index: number;
  op_index: number;
  leg: number;
  tx_hash: string | null;
  account: string;
  asset: string;
  amount: string;
  kind: string;
  counterparty: string | null;
  failed: boolean;
  result_code: string | null;
  sub_account: string | null;
  sub_account_type: string | null;
}

export const ENTRY_COLUMNS = `layer, ledger, tx_index, op_index, leg, encode(tx_hash, 'hex') as tx_hash, account, asset,
  amount::text as amount, kind, counterparty, failed, result_code, sub_account, sub_account_type`;

export function toEntry(row: EntryRow): Entry {
  return {
    layer: LAYER_OF_CODE[row.layer]!,
    ledger: row.ledger,
    txIndex: row.tx_index,
    opIndex: row.op_index,
    leg: row.leg,
    txHash: row.tx_hash,
    account: row.account,
    asset: row.asset,
    amount: BigInt(row.amount),
    kind: row.kind as Entry['kind'],
    counterparty: row.counterparty,
    status: row.failed ? 'failed' : 'success',
    resultCode: row.result_code,
    subAccount: row.sub_account,
    subAccountType: row.sub_account_type as Entry['subAccountType'],
  };
}

/** Stored entries of a range, of the given accounts and contracts, or of all (null). */
export async function entriesOfRange(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  range: LedgerRange,
  members: readonly string[] | null,
): Promise<Entry[]> {
  const rows = await sql<EntryRow>(
    em,
    `select ${ENTRY_COLUMNS} from trueup.entries
     where stream_id = $1 and layer = $2 and ledger >= $3 and ledger < $4 and ($5::text[] is null or account = any($5))`,
    [streamId, LAYER_CODES[layer], range.from, range.to, members],
  );
  return rows.map(toEntry);
}
