// A row as a book may write it: the same amount, time, key and absence in other letters.
import { assetScale } from '../../../src/core/asset.ts';
import { formatAmount } from '../../../src/core/money.ts';
import { chance, pick, type Random } from '../../_util/random.ts';
import type { Row } from './world.ts';

export function spell(random: Random, row: Row): Record<string, string | null> {
  const absent = (): string | null => pick(random, ['', ' ', null]);
  const scale = assetScale(row.asset);
  return {
    row_id: row.rowIds[0]!,
    key: chance(random, 0.5) ? row.key.toUpperCase() : row.key,
    account: row.account,
    asset: row.asset === 'native' ? pick(random, ['native', 'XLM', 'Native']) : row.asset,
    ...(scale === undefined || chance(random, 0.3)
      ? { amount_minor: String(row.amount) }
      : { amount: spellAmount(random, formatAmount(row.amount, scale)) }),
    kind: row.kind ?? absent(),
    counterparty: row.counterparty ?? absent(),
    status: row.status === null ? absent() : pick(random, [row.status, row.status.toUpperCase()]),
    sub_account: row.subAccount ?? absent(),
    occurred_at: row.atMs === null ? absent() : spellTime(random, row.atMs),
    ledger: row.ledger === null ? pick(random, ['', '0', null]) : String(row.ledger),
  };
}

/** "100", "100.0" and "100.0000000" are one amount. */
function spellAmount(random: Random, decimal: string): string {
  if (chance(random, 0.3)) return decimal;
  const short = decimal.replace(/\.?0+$/, '');
  return chance(random, 0.5) || short.includes('.') ? short : `${short}.0`;
}

/** The same moment by the clocks of other zones. */
function spellTime(random: Random, atMs: number): string {
  const offsetMinutes = pick(random, [0, 330, -480, 840]);
  const local = new Date(atMs + offsetMinutes * 60_000).toISOString().slice(0, -1);
  const two = (value: number): string => String(value).padStart(2, '0');
  const size = Math.abs(offsetMinutes);
  return `${local}${offsetMinutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
