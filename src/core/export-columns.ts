// The columns of each kind of export: what they are called, of which type, and under which version their meaning is fixed.
import type { ExportKind } from './export.ts';

export interface ExportColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'decimal' | 'timestamp' | 'boolean' | 'json';
  /** Words of people, in which a spreadsheet could find a formula; ids, assets and codes begin with a letter or digit. */
  readonly isFree?: boolean;
}

const string = (name: string): ExportColumn => ({ name, type: 'string' });
const free = (name: string): ExportColumn => ({ name, type: 'string', isFree: true });
const integer = (name: string): ExportColumn => ({ name, type: 'integer' });
const decimal = (name: string): ExportColumn => ({ name, type: 'decimal' });
const timestamp = (name: string): ExportColumn => ({ name, type: 'timestamp' });
const boolean = (name: string): ExportColumn => ({ name, type: 'boolean' });
const json = (name: string): ExportColumn => ({ name, type: 'json' });

/** Version of the columns' meaning: a column that changes its meaning raises it. */
export function schemaOf(kind: ExportKind): string {
  return `${kind}/1`;
}

/**
 * `amount` and the like are decimals of the asset, empty where its scale isn't known; `..._minor` are minor units. Times are UTC,
 * RFC 3339, whole seconds for the ledger's, microseconds for our own.
 */
export const EXPORT_COLUMNS = {
  entries: [
    string('entry_id'),
    string('stream'),
    string('layer'),
    integer('ledger'),
    integer('transaction_index'),
    integer('operation_index'),
    integer('leg'),
    string('transaction_hash'),
    string('account'),
    string('asset'),
    decimal('amount'),
    integer('amount_minor'),
    string('kind'),
    string('counterparty'),
    string('status'),
    string('result_code'),
    free('sub_account'),
    string('sub_account_type'),
    timestamp('close_time'),
    string('source'),
  ],
  drifts: [
    string('id'),
    string('policy'),
    string('level'),
    free('stream'),
    boolean('sandbox'),
    free('match_key'),
    integer('occurrence'),
    string('kinds'),
    string('state'),
    string('resolution_cause'),
    free('account'),
    free('asset'),
    decimal('value_at_risk'),
    integer('value_at_risk_minor'),
    json('fields'),
    json('ledger_side'),
    json('book_side'),
    free('assignee'),
    free('reason'),
    free('owner'),
    timestamp('exempt_until'),
    timestamp('item_time'),
    timestamp('first_seen_time'),
    timestamp('last_seen_time'),
    string('first_reconciliation_id'),
    string('last_reconciliation_id'),
    integer('episode'),
    integer('reopen_count'),
    timestamp('transition_time'),
    free('transition_actor'),
    integer('revision'),
  ],
  runs: [
    string('id'),
    string('policy'),
    string('level'),
    string('trigger'),
    string('state'),
    string('verdict'),
    boolean('sandbox'),
    free('stream'),
    free('book'),
    free('actor'),
    integer('cut_ledger'),
    integer('window_from_ledger'),
    integer('window_to_ledger'),
    integer('ledger_records'),
    integer('book_records'),
    integer('matched'),
    integer('drifted'),
    integer('pending'),
    integer('exempt'),
    integer('underived'),
    integer('skipped'),
    json('inconclusive'),
    string('result_digest'),
    string('error_reason'),
    free('error_message'),
    timestamp('create_time'),
    timestamp('start_time'),
    timestamp('complete_time'),
  ],
  audit: [
    string('id'),
    timestamp('time'),
    free('actor'),
    string('role'),
    string('method'),
    free('request_id'),
    string('trace_id'),
    free('resource'),
    free('reason'),
    json('before'),
    json('after'),
  ],
  statement: [
    free('stream'),
    string('account'),
    free('asset'),
    string('day'),
    string('state'),
    free('state_reasons'),
    decimal('opening'),
    decimal('in'),
    decimal('out'),
    decimal('fees'),
    decimal('closing'),
    integer('opening_minor'),
    integer('in_minor'),
    integer('out_minor'),
    integer('fees_minor'),
    integer('closing_minor'),
    decimal('book_closing'),
    integer('book_closing_minor'),
    integer('unmatched_0_1_days'),
    integer('unmatched_2_7_days'),
    integer('unmatched_8_30_days'),
    integer('unmatched_over_30_days'),
  ],
} as const satisfies Record<Exclude<ExportKind, 'sweep_actions'>, readonly ExportColumn[]>;

export type ExportableKind = keyof typeof EXPORT_COLUMNS;

export function isExportable(kind: ExportKind): kind is ExportableKind {
  return kind in EXPORT_COLUMNS;
}
