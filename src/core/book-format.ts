// A book row back to named columns, the inverse of parseBookRow.
import { assetScale } from './asset.ts';
import type { ScaleOf } from './book-columns.ts';
import type { BookRowInput } from './book.ts';
import { formatAmount } from './money.ts';

/** The columns of a row as text, absent ones left out; `amount` where the asset's scale is known, else `amount_minor`. */
export function formatBookRow(row: BookRowInput, scaleOf: ScaleOf = assetScale): Record<string, string> {
  const scale = scaleOf(row.asset);
  const columns: Record<string, string> = {};
  const put = (column: string, value: string | null) => {
    if (value !== null && value !== '') columns[column] = value;
  };
  put('row_id', row.rowId);
  put('key', row.key);
  put('account', row.account);
  put('sub_account', row.subAccount);
  put('asset', row.asset);
  if (row.amount !== null && scale !== undefined) put('amount', formatAmount(row.amount, scale));
  if (row.amount !== null && scale === undefined) put('amount_minor', row.amount.toString());
  put('kind', row.kind);
  put('counterparty', row.counterparty);
  put('status', row.status);
  put('occurred_at', row.occurredAt === null ? null : row.occurredAt.toISOString());
  put('ledger', row.ledger === null ? null : String(row.ledger));
  put('retracted', row.retracted ? 'true' : null);
  return columns;
}
