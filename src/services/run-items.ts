// Rows of both sides as the items that are compared, and findings as the rows that are kept of them.
import type { BookRow } from '../core/book.ts';
import type { DriftSide } from '../core/drift.ts';
import type { FindingExemption } from '../core/exemption.ts';
import { valueAtRisk, type Finding, type Item } from '../core/match.ts';
import type { FindingRow } from '../store/findings.ts';
import type { KeyedItem } from '../store/ledger-side.ts';

/** Row ids listed with a drift's side. */
const MAX_ROW_IDS = 100;

/** A finding as it is stored. */
export function toFindingRow(key: string, finding: Finding, exemption: FindingExemption | null): FindingRow {
  const item = (finding.ledger ?? finding.book)!;
  const atMs = finding.ledger?.atMs ?? finding.book?.atMs ?? null;
  return {
    matchKey: key,
    occurrence: finding.occurrence,
    kinds: finding.kinds,
    fields: finding.fields,
    ledgerSide: finding.ledger && toSide(finding.ledger),
    bookSide: finding.book && toSide(finding.book),
    account: item.account,
    asset: item.asset,
    valueAtRisk: valueAtRisk(finding),
    itemAt: atMs === null ? null : new Date(atMs),
    exemption,
  };
}

function toSide(item: Item): DriftSide {
  return {
    account: item.account,
    asset: item.asset,
    amount: item.amount,
    kind: item.kind,
    status: item.status,
    counterparty: item.counterparty,
    subAccount: item.subAccount,
    at: item.atMs === null ? null : new Date(item.atMs),
    ledger: item.ledger,
    txHash: item.txHash,
    rowIds: item.rowIds.slice(0, MAX_ROW_IDS),
    rowCount: item.rowIds.length,
  };
}

/** A side's row as an item to compare. */
export function toItem(row: BookRow): Item {
  return {
    account: row.account,
    asset: row.asset,
    amount: row.amount,
    kind: row.kind,
    status: row.status,
    counterparty: row.counterparty,
    subAccount: row.subAccount,
    atMs: row.occurredAt?.getTime() ?? null,
    ledger: row.ledger,
    txHash: null,
    rowIds: [row.rowId],
  };
}

/** Items of each key. */
export function byKey(entries: readonly KeyedItem[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const { key, item } of entries) {
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** A side's rows, each with the key that it is joined on. */
export function keyed(rows: readonly BookRow[]): KeyedItem[] {
  return rows.map((row) => ({ key: row.key, item: toItem(row) }));
}

/** An account and asset as one text. */
export function slotOf({ account, asset }: { readonly account: string; readonly asset: string }): string {
  return `${account} ${asset}`;
}
