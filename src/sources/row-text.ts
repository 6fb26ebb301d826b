// Rows as text on disk, for this process alone: quick to write and to read back, and checked already. Not a format for others.
import type { BookRow } from '../core/book.ts';

/** No text of a book holds it: such rows were refused when they came in. */
const END = '\0';
const FIELDS = 11;

export function writeRows(rows: readonly BookRow[]): string {
  let text = '';
  for (const row of rows) {
    text +=
      `${row.rowId}${END}${row.key}${END}${row.account}${END}${row.asset}${END}${row.amount}${END}` +
      `${orNothing(row.kind)}${END}${orNothing(row.counterparty)}${END}${orNothing(row.status)}${END}` +
      `${orNothing(row.subAccount)}${END}${row.occurredAt === null ? '' : row.occurredAt.getTime()}${END}${row.ledger ?? ''}${END}`;
  }
  return text;
}

export function readRows(text: string): BookRow[] {
  const fields = text.split(END);
  const rows: BookRow[] = [];
  for (let at = 0; at + FIELDS < fields.length; at += FIELDS) {
    rows.push({
      rowId: fields[at]!,
      key: fields[at + 1]!,
      account: fields[at + 2]!,
      asset: fields[at + 3]!,
      amount: BigInt(fields[at + 4]!),
      kind: orNull(fields[at + 5]!),
      counterparty: orNull(fields[at + 6]!),
      status: orNull(fields[at + 7]!),
      subAccount: orNull(fields[at + 8]!),
      occurredAt: fields[at + 9] === '' ? null : new Date(Number(fields[at + 9])),
      ledger: fields[at + 10] === '' ? null : Number(fields[at + 10]),
      retracted: false,
    });
  }
  return rows;
}

/** A book's row has no empty texts but its key: what is absent is null. */
function orNothing(text: string | null): string {
  return text ?? '';
}

function orNull(text: string): string | null {
  return text === '' ? null : text;
}
