// Goal: the operations layer of busy public network ledgers equals what others computed, from metadata of every version.
// Method: three recorded ledgers with every leg kept, against Horizon-shaped rows, sums and fee totals.
import { describe, expect, it } from 'vitest';
import { parseAmount } from '../../src/core/money.ts';
import { ledgerCloseMetaReader } from '../../src/sources/stellar/ledger-close-meta.ts';
import { hasSharedData } from '../_util/shared-data.ts';
import {
  legLine,
  legsOfPayment,
  PAYMENT_KINDS,
  readCsv,
  readRows,
  readText,
  sumLines,
} from '../_util/stellar-expected.ts';
import { PUBNET, pubnetLedger } from '../_util/stellar-lcm.ts';

const EXPECTED = 'stellar-pubnet-lcm/expected';

describe.skipIf(!hasSharedData).each([53_312_000, 57_500_008, 63_092_988])('public network ledger %i', (sequence) => {
  const record = hasSharedData
    ? ledgerCloseMetaReader(PUBNET).read(pubnetLedger(sequence), ['operations'], () => true)
    : undefined;
  const entries = record?.entries ?? [];

  it('sums to the expected credits and debits of every account and asset', () => {
    expect(sumLines(entries)).toEqual(readCsv(`${EXPECTED}/${sequence}-sums-by-account-asset.csv`).sort());
  });

  it('has both legs of every payment-type operation, row by row', () => {
    const legs = entries.filter(({ kind }) => PAYMENT_KINDS.has(kind)).map(legLine);
    expect(legs).toEqual(readRows(`${EXPECTED}/${sequence}-payments.jsonl.gz`).flatMap(legsOfPayment));
  });

  it('has one fee leg per transaction, and their expected sum', () => {
    const fees = entries.filter(({ kind }) => kind === 'fee');
    const totals = JSON.parse(readText(`${EXPECTED}/totals.json`)) as {
      ledger: number;
      fees_charged_stroops: string;
      hash: string;
      closed_at: string;
    }[];
    const expected = totals.find(({ ledger }) => ledger === sequence)!;
    expect(fees.map((fee) => `${fee.txIndex} ${fee.txHash} ${fee.account} ${-fee.amount}`)).toEqual(
      readRows(`${EXPECTED}/${sequence}-transactions.jsonl.gz`).map((row) =>
        [row['application_order'], row['hash'], row['fee_account'], row['fee_charged']].join(' '),
      ),
    );
    expect(fees.reduce((sum, { amount }) => sum - amount, 0n)).toBe(parseAmount(expected.fees_charged_stroops, 0));
    expect([record!.hash, record!.closeTime * 1000]).toEqual([expected.hash, Date.parse(expected.closed_at)]);
  });

  it('leaves nothing behind in a trade: what sellers, takers and payers moved in each asset cancels out', () => {
    const byOperation = new Map<string, bigint>();
    for (const { txIndex, opIndex, asset, amount, kind } of entries) {
      if (kind !== 'trade' && kind !== 'path_payment') continue;
      const key = `${txIndex} ${opIndex} ${asset}`;
      byOperation.set(key, (byOperation.get(key) ?? 0n) + amount);
    }
    expect([...byOperation].filter(([, sum]) => sum !== 0n)).toEqual([]);
    expect(byOperation.size).toBeGreaterThan(0);
  });
});
