// The rows of an export as one statement of the server's own COPY: PostgreSQL writes CSV and JSON faster than we could, and what
// is left for this process is to hash the bytes and to put them away.
import { escapeLiteral } from 'pg';
import { EXPORT_COLUMNS, type ExportableKind, type ExportColumn } from '../core/export-columns.ts';
import type { ExportFilter, ExportFormat } from '../core/export.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { isUuid, NOBODYS_UUID } from '../core/ids.ts';
import { LAYER_CODES } from './entries.ts';

/** Kinds whose rows are rows of a table; a statement is worked out. */
export type CopiedKind = Exclude<ExportableKind, 'statement'>;

export interface EntrySelection {
  readonly streamId: number;
  readonly streamName: string;
  readonly range: LedgerRange;
}

/**
 * `copy (...) to stdout` of one kind in its fixed order: CSV with its header, or one JSON object a line. COPY takes no bound
 * values, so they are written into it as literals.
 *
 * @param entries which part of which stream; needed by `entries` alone.
 */
export function copyStatement(
  kind: CopiedKind,
  format: ExportFormat,
  filter: ExportFilter,
  entries: EntrySelection | null,
): string {
  const { select, from, order } = ROWS[kind](filter, entries);
  const columns = EXPORT_COLUMNS[kind];
  const expressions = columns.map((column) => {
    const expression = (select as Readonly<Record<string, string>>)[column.name]!;
    return `${format === 'csv' ? csvCell(column, expression) : expression} as "${column.name}"`;
  });
  const rows = `select ${expressions.join(', ')} from ${from} order by ${order}`;
  if (format === 'csv') return `copy (${rows}) to stdout (format csv, header)`;
  // A line of JSON has no control characters, so nothing of it is ever quoted.
  return `copy (select row_to_json(line)::text from (${rows}) as line) to stdout (format csv, delimiter e'\\x01', quote e'\\x02')`;
}

/** First characters of a cell that a spreadsheet may take for a formula; the same list as core/csv.ts's. */
const FORMULA_SQL = `('=', '+', '-', '@', chr(9), chr(13))`;

function csvCell(column: ExportColumn, expression: string): string {
  if (column.type === 'boolean' || column.type === 'json') return `(${expression})::text`;
  if (column.isFree !== true) return expression;
  return `case when left(${expression}, 1) in ${FORMULA_SQL} then '''' || (${expression}) else ${expression} end`;
}

interface Rows {
  readonly select: Readonly<Record<string, string>>;
  readonly from: string;
  readonly order: string;
}

const ROWS: Readonly<Record<CopiedKind, (filter: ExportFilter, entries: EntrySelection | null) => Rows>> = {
  entries: (filter, entries) => entryRows(filter, entries!),
  drifts: driftRows,
  runs: runRows,
  audit: auditRows,
};

function entryRows(filter: ExportFilter, { streamId, streamName, range }: EntrySelection): Rows {
  const layer = filter.layer ?? 'operations';
  const stream = escapeLiteral(streamName);
  return {
    select: {
      entry_id: `${stream} || '/' || concat_ws('-', ledger, tx_index, op_index, leg, '${layer === 'operations' ? 'o' : 't'}')`,
      stream,
      layer: `'${layer}'`,
      ledger: 'ledger',
      transaction_index: 'tx_index',
      operation_index: 'op_index',
      leg: 'leg',
      transaction_hash: `encode(tx_hash, 'hex')`,
      account: 'account',
      asset: 'asset',
      amount: decimal('amount'),
      amount_minor: 'amount::text',
      kind: 'entry.kind',
      counterparty: 'counterparty',
      status: `case when failed then 'failed' else 'success' end`,
      result_code: 'result_code',
      sub_account: 'sub_account',
      sub_account_type: 'sub_account_type',
      close_time: `to_char(closed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`,
      source: 'source.label',
    },
    from: `trueup.entries as entry join trueup.sources as source on source.id = entry.source_id
      where ${all([
        `stream_id = ${streamId} and layer = ${LAYER_CODES[layer]} and ledger >= ${range.from} and ledger < ${range.to}`,
        within('closed_at', filter),
        anyOf('account', filter.accounts),
        anyOf('asset', filter.assets),
        anyOf('entry.kind', filter.kinds),
      ])}`,
    order: 'ledger, tx_index, op_index, leg',
  };
}

function driftRows(filter: ExportFilter): Rows {
  return {
    select: {
      ...same('policy', 'level', 'stream', 'sandbox', 'match_key', 'occurrence', 'state', 'resolution_cause'),
      ...same('account', 'asset', 'assignee', 'reason', 'owner', 'episode', 'transition_actor', 'revision'),
      id: 'id::text',
      kinds: `array_to_string(kinds, ' ')`,
      value_at_risk: decimal('value_at_risk'),
      value_at_risk_minor: 'value_at_risk::text',
      fields: 'fields',
      ledger_side: sideOf('ledger_side'),
      book_side: sideOf('book_side'),
      exempt_until: instant('exempt_until'),
      item_time: instant('item_at'),
      first_seen_time: instant('first_seen_at'),
      last_seen_time: instant('last_seen_at'),
      first_reconciliation_id: 'first_run_id::text',
      last_reconciliation_id: 'last_run_id::text',
      reopen_count: 'reopened_count',
      transition_time: instant('transition_at'),
    },
    from: `trueup.drifts where ${all([
      equals('policy', filter.policy),
      equals('stream', filter.stream),
      anyOf('account', filter.accounts),
      anyOf('asset', filter.assets),
      anyOf('state', filter.driftStates),
      filter.driftKinds?.length ? `kinds && ${textArray(filter.driftKinds)}` : null,
      filter.range &&
        `(ledger_side->>'ledger')::int >= ${filter.range.from} and (ledger_side->>'ledger')::int < ${filter.range.to}`,
      filter.runId === undefined ? null : `${uuid(filter.runId)} in (first_run_id, last_run_id)`,
      within('first_seen_at', filter),
    ])}`,
    order: 'first_seen_at, id',
  };
}

function runRows(filter: ExportFilter): Rows {
  const count = (name: string): string => `(summary->'counts'->>'${name}')::bigint`;
  return {
    select: {
      ...same('policy', 'level', 'trigger', 'state', 'verdict', 'sandbox', 'stream', 'book', 'actor'),
      id: 'id::text',
      cut_ledger: `(summary->'cut'->>'ledger')::bigint`,
      window_from_ledger: `(summary->'window'->'ledgers'->>'from')::bigint`,
      // Inclusive, as people read ranges.
      window_to_ledger: `(summary->'window'->'ledgers'->>'to')::bigint - 1`,
      ledger_records: count('ledgerRecords'),
      book_records: count('bookRecords'),
      ...Object.fromEntries(
        ['matched', 'drifted', 'pending', 'exempt', 'underived', 'skipped'].map((name) => [name, count(name)]),
      ),
      inconclusive: `summary->'inconclusive'`,
      result_digest: `summary->>'resultDigest'`,
      error_reason: 'error_reason',
      error_message: 'error_message',
      create_time: instant('created_at'),
      start_time: instant('started_at'),
      complete_time: instant('completed_at'),
    },
    from: `trueup.reconciliations where ${all([
      equals('policy', filter.policy),
      equals('stream', filter.stream),
      equals('book', filter.book),
      filter.runId === undefined ? null : `id = ${uuid(filter.runId)}`,
      within('created_at', filter),
    ])}`,
    order: 'created_at, id',
  };
}

function auditRows(filter: ExportFilter): Rows {
  return {
    select: {
      ...same('actor', 'role', 'method', 'request_id', 'trace_id', 'resource', 'reason', 'before', 'after'),
      id: 'id::text',
      time: instant('at'),
    },
    from: `trueup.audit_log where ${all([equals('actor', filter.actor), within('at', filter)])}`,
    order: 'id',
  };
}

/** Decimals of the asset; null for a contract's token, whose scale isn't known. The product has exactly seven decimals. */
function decimal(amount: string): string {
  return `case when length(asset) = 56 then null else (${amount} * 0.0000001)::text end`;
}

/** One side of a drift, in plain JSON: it is kept with marks for money and times (see json.ts). */
function sideOf(column: string): string {
  return `case when ${column} is null then null else jsonb_build_object('account', ${column}->'account',
    'asset', ${column}->'asset', 'amount_minor', ${column}->'amount'->'$n', 'kind', ${column}->'kind', 'status', ${column}->'status',
    'counterparty', ${column}->'counterparty', 'sub_account', ${column}->'subAccount', 'time', ${column}->'at'->'$t',
    'ledger', ${column}->'ledger', 'transaction_hash', ${column}->'txHash', 'row_ids', ${column}->'rowIds',
    'row_count', ${column}->'rowCount') end`;
}

function instant(column: string): string {
  return `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

function same(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, name]));
}

function all(conditions: readonly (string | null | undefined)[]): string {
  return conditions.filter((each) => each !== null && each !== undefined).join(' and ') || 'true';
}

function equals(column: string, value: string | undefined): string | null {
  return value === undefined ? null : `${column} = ${escapeLiteral(value)}`;
}

function anyOf(column: string, values: readonly string[] | undefined): string | null {
  return values?.length ? `${column} = any(${textArray(values)})` : null;
}

function textArray(values: readonly string[]): string {
  return `array[${values.map(escapeLiteral).join(', ')}]::text[]`;
}

function uuid(id: string): string {
  return `${escapeLiteral(isUuid(id) ? id : NOBODYS_UUID)}::uuid`;
}

function within(column: string, { from, to }: ExportFilter): string | null {
  const bounds = [
    from && `${column} >= ${escapeLiteral(from.toISOString())}::timestamptz`,
    to && `${column} < ${escapeLiteral(to.toISOString())}::timestamptz`,
  ];
  return bounds.some((each) => each !== undefined) ? all(bounds) : null;
}
