// Entries, book rows, balances and imports: messages to values and back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { entryIdOf } from '../core/entry-id.ts';
import type { Import, ImportHeader, ListedBalance, ListedBookRow, ListedEntry } from '../core/listing.ts';
import { parseBookCall, type RecordAnswer, type RecordResult, type StreamMessage } from '../services/book.ts';
import { type BalanceSchema, BalanceState } from '../../gen/trueup/v1/balance_pb.js';
import {
  type BookBalance as BookBalanceMessage,
  type BookEntry as BookEntryMessage,
  type BookRowSchema,
  ImportFormat,
  type ImportSchema,
  ImportState,
  type RecordResultSchema,
} from '../../gen/trueup/v1/book_pb.js';
import { Level as LevelMessage, Side } from '../../gen/trueup/v1/common_pb.js';
import type { EntrySchema } from '../../gen/trueup/v1/entry_pb.js';
import type { ImportEntriesHeader } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import {
  decimalOf,
  ENTRY_STATUS_OUT,
  fromTimestamp,
  LAYER_OUT,
  LEVEL_OUT,
  levelIn,
  optionalTimestamp,
  orNull,
  reader,
  toMoney,
  toProvenance,
  toReason,
  toTimestamp,
} from './convert-common.ts';

/**
 * Rows and balances of a call: the named columns that files and queries use too, so that one rule reads them all.
 *
 * @throws TrueUpError INVALID_REQUEST naming fields as `entries[3].amount`.
 */
export function fromBookCall(
  entries: readonly BookEntryMessage[],
  balances: readonly BookBalanceMessage[],
): StreamMessage {
  return parseBookCall(entries.map(columnsOfEntry), balances.map(columnsOfBalance));
}

function columnsOfEntry(entry: BookEntryMessage, index: number): Record<string, unknown> {
  return {
    row_id: entry.rowId,
    key: entry.key,
    account: entry.account,
    asset: entry.asset,
    ...columnOf('amount', entry.value.case === 'amountMinor', entry.value.value),
    kind: entry.kind,
    counterparty: entry.counterparty,
    status: entry.status,
    sub_account: entry.subAccount,
    occurred_at: entry.occurredAt && fromTimestamp(entry.occurredAt, `entries[${index}].occurred_at`),
    ledger: entry.ledger === 0 ? undefined : entry.ledger,
    retracted: entry.retracted,
  };
}

function columnsOfBalance(balance: BookBalanceMessage): Record<string, unknown> {
  return {
    account: balance.account,
    asset: balance.asset,
    ...columnOf('balance', balance.value.case === 'balanceMinor', balance.value.value),
    sub_account: balance.subAccount,
    as_of_ledger: balance.asOfLedger,
  };
}

function columnOf(name: string, minor: boolean, value: string | undefined): Record<string, unknown> {
  return value === undefined ? {} : { [minor ? `${name}_minor` : name]: value };
}

export function toRecordResults({ entries, balances }: RecordAnswer) {
  return { entries: toRecordResult(entries), balances: toRecordResult(balances) };
}

function toRecordResult(result: RecordResult): MessageInitShape<typeof RecordResultSchema> {
  return {
    insertedCount: BigInt(result.inserted),
    revisedCount: BigInt(result.revised),
    unchangedCount: BigInt(result.unchanged),
    retractedCount: BigInt(result.retracted),
    completeThrough: optionalTimestamp(result.completeThrough),
  };
}

export function toEntry(entry: ListedEntry): MessageInitShape<typeof EntrySchema> {
  const decimal = decimalOf(entry.asset, entry.amount);
  const { scale } = toMoney(entry.asset, entry.amount);
  return {
    entryId: entryIdOf(entry.stream, entry),
    stream: entry.stream,
    layer: LAYER_OUT[entry.layer],
    ledger: entry.ledger,
    closeTime: toTimestamp(entry.closedAt),
    transactionHash: entry.txHash ?? '',
    transactionIndex: entry.txIndex,
    operationIndex: entry.opIndex,
    leg: entry.leg,
    account: entry.account,
    asset: entry.asset,
    amountMinor: entry.amount.toString(),
    amount: decimal,
    scale,
    kind: entry.kind,
    counterparty: entry.counterparty ?? '',
    status: ENTRY_STATUS_OUT[entry.status],
    resultCode: entry.resultCode ?? '',
    subAccount: entry.subAccount ?? '',
    subAccountType: entry.subAccountType ?? '',
    matchKey: matchKeyOf(entry),
    source: toProvenance(entry.source),
  };
}

/** As a book would name it under the operation join. */
function matchKeyOf({ txHash, opIndex }: ListedEntry): string {
  if (txHash === null) return '';
  return opIndex === 0 ? txHash : `${txHash}:${opIndex}`;
}

export function toBookRow(row: ListedBookRow): MessageInitShape<typeof BookRowSchema> {
  const decimal = decimalOf(row.asset, row.amount);
  return {
    book: row.book,
    rowId: row.rowId,
    revision: row.revision,
    entry: {
      rowId: row.rowId,
      key: row.key,
      account: row.account,
      asset: row.asset,
      value:
        decimal === undefined
          ? { case: 'amountMinor', value: row.amount.toString() }
          : { case: 'amount', value: decimal },
      kind: row.kind ?? '',
      counterparty: row.counterparty ?? '',
      status: row.status ?? '',
      subAccount: row.subAccount ?? '',
      occurredAt: optionalTimestamp(row.occurredAt),
      ledger: row.ledger ?? 0,
      retracted: row.retracted,
    },
    amountMinor: row.amount.toString(),
    recordTime: toTimestamp(row.recordedAt),
    importId: row.importId ?? '',
  };
}

const BALANCE_STATE_OUT: Record<ListedBalance['state'], BalanceState> = {
  derived: BalanceState.DERIVED,
  underived: BalanceState.UNDERIVED,
  no_opening: BalanceState.NO_OPENING,
  stated: BalanceState.STATED,
};

export function toBalance(balance: ListedBalance): MessageInitShape<typeof BalanceSchema> {
  return {
    side: balance.side === 'ledger' ? Side.LEDGER : Side.BOOK,
    stream: balance.side === 'ledger' ? balance.name : '',
    book: balance.side === 'book' ? balance.name : '',
    account: balance.account,
    balance: toMoney(balance.asset, balance.amount),
    state: BALANCE_STATE_OUT[balance.state],
    stateReasons: [...balance.reasons],
    asOfLedger: balance.asOfLedger ?? undefined,
    asOfTime: optionalTimestamp(balance.asOfAt),
    openingLedger: balance.openingLedger ?? undefined,
    openingMinor: balance.openingAmount?.toString(),
    legsMinor: balance.legsAmount?.toString(),
    source: toProvenance(balance.source),
  };
}

const IMPORT_STATE_OUT: Record<Import['state'], ImportState> = {
  staging: ImportState.STAGING,
  committed: ImportState.COMMITTED,
  failed: ImportState.FAILED,
};
const FORMAT_OUT: Record<NonNullable<Import['format']>, ImportFormat> = {
  csv: ImportFormat.CSV,
  jsonl: ImportFormat.JSONL,
};
const formatIn = reader(FORMAT_OUT);

export function fromImportHeader(header: ImportEntriesHeader): ImportHeader {
  return {
    book: header.book,
    level: levelIn(header.level) ?? null,
    format: formatIn(header.format) ?? null,
    completeThrough:
      header.completeThrough === undefined ? null : fromTimestamp(header.completeThrough, 'header.complete_through'),
    fileName: orNull(header.fileName),
    fileSizeBytes: header.fileSizeBytes === undefined ? null : Number(header.fileSizeBytes),
    requestId: orNull(header.requestId),
  };
}

export function toImport(each: Import): MessageInitShape<typeof ImportSchema> {
  return {
    id: each.id,
    book: each.book,
    level: each.level === null ? LevelMessage.UNSPECIFIED : LEVEL_OUT[each.level],
    format: each.format === null ? ImportFormat.UNSPECIFIED : FORMAT_OUT[each.format],
    state: IMPORT_STATE_OUT[each.state],
    fileName: each.fileName ?? '',
    receivedBytes: BigInt(each.receivedBytes),
    lineCount: BigInt(each.lines),
    insertedCount: BigInt(each.inserted),
    revisedCount: BigInt(each.revised),
    unchangedCount: BigInt(each.unchanged),
    retractedCount: BigInt(each.retracted),
    errors: each.errors.map(({ line, column, reason, message }) => ({
      line: BigInt(line),
      column: column ?? '',
      reason: toReason(reason),
      message,
    })),
    errorCount: BigInt(each.errorCount),
    sha256: each.sha256 ?? '',
    completeThrough: optionalTimestamp(each.completeThrough),
    requester: each.actor,
    createTime: toTimestamp(each.createdAt),
    completeTime: optionalTimestamp(each.completedAt),
    requestId: each.requestId ?? '',
  };
}
