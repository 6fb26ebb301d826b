// The rows of a statement: a page of accounts and assets at a time, so that memory doesn't grow with their number.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Cell } from '../core/csv.ts';
import type { Layer } from '../core/entry.ts';
import type { ExportFilter } from '../core/export.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { statementLines } from '../core/statement.ts';
import { listLedgerPairs, type AccountAsset } from '../store/balance-pairs.ts';
import { balancesOfPairs } from '../store/balances.ts';
import { closeTimeAfter, closeTimeBefore } from '../store/ledger-side.ts';
import { dayMovements, unmatchedDays } from '../store/statement-rows.ts';
import type { Stream } from '../store/streams.ts';
import { openStatementBook, type StatementBookDeps } from './statement-book.ts';

const PAGE_PAIRS = 500;

export interface StatementScope {
  readonly stream: Stream;
  readonly layer: Layer;
  readonly range: LedgerRange;
}

/** Lines of core/export-columns.ts's `statement`, in byte order of account and asset, then by day. */
export async function* statementRows(
  em: EntityManager,
  books: StatementBookDeps,
  { stream, layer, range }: StatementScope,
  filter: ExportFilter,
  signal: AbortSignal,
): AsyncGenerator<Cell[][]> {
  const last = range.to - 1;
  const [fromMs, toMs] = [
    await closeTimeAfter(em, stream.id, layer, range.from),
    await closeTimeBefore(em, stream.id, layer, last),
  ];
  if (fromMs === null || toMs === null) return;
  const time = { from: new Date(fromMs), to: new Date(toMs) };
  await using book = await openStatementBook(em, books, filter, { time, cutLedger: last }, signal);
  const lastDay = time.to.toISOString().slice(0, 10);
  for (let after: AccountAsset | null = null; ;) {
    const pairs: AccountAsset[] = await listLedgerPairs(em, stream.id, filter, after, PAGE_PAIRS);
    const balances = await balancesOfPairs(
      em,
      stream.id,
      layer,
      pairs.map((pair) => ({ ...pair, asOfLedger: last })),
    );
    const days = byPair(await dayMovements(em, stream.id, layer, range, pairs));
    const unmatched = byPair(await unmatchedDays(em, pairs));
    const said = book && (await book.read(pairs));
    const [stated, booked] = [said && byPair(said.stated), said && byPair(said.days)];
    const lines = balances.flatMap((balance, i) =>
      statementLines(
        {
          account: balance.account,
          asset: balance.asset,
          state: balance.state,
          reasons: balance.reasons,
          closing: balance.amount,
          days: days.get(i) ?? [],
          book: stated && booked && { stated: stated.get(i) ?? [], days: booked.get(i) ?? [] },
          unmatched: unmatched.get(i) ?? [],
        },
        lastDay,
      ),
    );
    if (lines.length > 0) yield lines.map((line) => [stream.name, ...line]);
    if (pairs.length < PAGE_PAIRS) return;
    after = pairs.at(-1)!;
  }
}

function byPair<Row extends { readonly pair: number }>(rows: readonly Row[]): Map<number, Row[]> {
  return Map.groupBy(rows, (row) => row.pair);
}
