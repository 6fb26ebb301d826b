// What independent readers made of the recorded Stellar ledgers: rows in Horizon's shape, sums, amounts as stroops.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Entry } from '../../src/core/entry.ts';
import { parseAmount } from '../../src/core/money.ts';
import { sharedData } from './shared-data.ts';

export type Row = Record<string, unknown>;

export function readText(path: string): string {
  const bytes = readFileSync(sharedData(path));
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
}

export function readRows(path: string): Row[] {
  return (
    readText(path)
      .split('\n')
      .filter((line) => line !== '')
      // Some files write ids beyond 2^53 as bare numbers; they come as strings.
      .map((line) => JSON.parse(line.replaceAll(/:(-?\d{16,})(?=[,}])/g, ':"$1"')) as Row)
  );
}

/** Data lines of a CSV without quoting, header left out. */
export function readCsv(path: string): string[] {
  return readText(path).trim().split('\n').slice(1);
}

export const PAYMENT_KINDS: ReadonlySet<string> = new Set([
  'create_account',
  'payment',
  'path_payment',
  'account_merge',
]);

/** One line per leg of a payment-type operation, failed ones with 0, from a row of Horizon's payments. */
export function legsOfPayment(row: Row): string[] {
  const text = (name: string): string => String(row[name]);
  const id = BigInt(text('id'));
  const at = `${text('ledger')} ${(id >> 12n) & 0xfffffn} ${id & 0xfffn} ${text('transaction_hash')}`;
  const succeeded = row['transaction_successful'] === true;
  const units = (name: string): bigint => (succeeded ? parseAmount(text(name), 7) : 0n);
  const kind = text('type').startsWith('path_payment') ? 'path_payment' : text('type');
  const line = (leg: number, account: string, asset: string, amount: bigint): string =>
    `${at} ${leg} ${kind} ${succeeded ? 'success' : 'failed'} ${account} ${asset} ${amount}`;
  const both = (from: string, to: string, asset: string, amount: bigint): string[] => [
    line(0, from, asset, -amount),
    line(1, to, asset, amount),
  ];
  switch (text('type')) {
    case 'create_account':
      return both(text('funder'), text('account'), 'native', units('starting_balance'));
    case 'account_merge':
      return both(text('account'), text('into'), 'native', succeeded ? units('_merged_amount') : 0n);
    case 'payment':
      return both(text('from'), text('to'), assetOf(row, ''), units('amount'));
    default:
      return [
        line(0, text('from'), assetOf(row, 'source_'), -units('source_amount')),
        line(1, text('to'), assetOf(row, ''), units('amount')),
      ];
  }
}

/** An entry in the words of legsOfPayment. */
export function legLine(entry: Entry): string {
  const { ledger, txIndex, opIndex, txHash, leg, kind, status, account, asset, amount } = entry;
  return `${ledger} ${txIndex} ${opIndex} ${txHash} ${leg} ${kind} ${status} ${account} ${asset} ${amount}`;
}

/** account,asset,credits,credit_stroops,debits,debit_stroops,net_stroops of successful payment-type legs, sorted. */
export function sumLines(entries: Iterable<Entry>): string[] {
  const sums = new Map<string, { credits: number; credit: bigint; debits: number; debit: bigint }>();
  for (const { account, asset, amount, kind, status } of entries) {
    if (status !== 'success' || !PAYMENT_KINDS.has(kind)) continue;
    const key = `${account},${asset}`;
    const sum = sums.get(key) ?? { credits: 0, credit: 0n, debits: 0, debit: 0n };
    if (amount < 0n) {
      sum.debits += 1;
      sum.debit -= amount;
    } else {
      sum.credits += 1;
      sum.credit += amount;
    }
    sums.set(key, sum);
  }
  return [...sums]
    .map(([key, sum]) => `${key},${sum.credits},${sum.credit},${sum.debits},${sum.debit},${sum.credit - sum.debit}`)
    .sort();
}

function assetOf(row: Row, prefix: string): string {
  if (row[`${prefix}asset_type`] === 'native') return 'native';
  return `${String(row[`${prefix}asset_code`])}:${String(row[`${prefix}asset_issuer`])}`;
}
