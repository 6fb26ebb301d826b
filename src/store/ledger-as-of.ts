// The ledger side as it was at an earlier cut. Rows come with the coverage of their ledgers, in one transaction, and are never
// changed: so what was stored after a cut lies in ledgers that nobody had covered then.
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract, unite } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';

/** Ledgers that one watch has read. */
export interface CoveredBySet extends LedgerRange {
  readonly watchSetId: number;
}

export interface LedgerAsOf {
  /** Ledgers that some watch has read since the cut. */
  readonly fresh: readonly LedgerRange[];
  /** Of those, what another watch had read before it: its accounts' rows were there. */
  readonly known: readonly CoveredBySet[];
}

export async function coveredBySets(em: EntityManager, streamId: number, layer: Layer): Promise<CoveredBySet[]> {
  const rows = await sql<{ watch_set_id: number; from_ledger: number; to_ledger: number }>(
    em,
    `select watch_set_id, from_ledger, to_ledger from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and state = 'done' order by watch_set_id, from_ledger`,
    [streamId, LAYER_CODES[layer]],
  );
  return rows.map((row) => ({ watchSetId: row.watch_set_id, from: row.from_ledger, to: row.to_ledger }));
}

/** What has to be left out now for the ledgers below `before` to read as they did; null: nothing has come since. */
export function ledgerAsOf(
  then: readonly CoveredBySet[],
  now: readonly CoveredBySet[],
  before: number,
): LedgerAsOf | null {
  const fresh = now.flatMap((island) => {
    const had = then.filter((each) => each.watchSetId === island.watchSetId);
    return island.from >= before ? [] : subtract({ from: island.from, to: Math.min(island.to, before) }, had);
  });
  if (fresh.length === 0) return null;
  const known = then.filter((each) => fresh.some((range) => each.from < range.to && range.from < each.to));
  return { fresh: unite(fresh), known };
}

/** A condition on trueup.entries, written out in whole numbers; empty where everything counts. */
export function asOfCondition({ asOf }: { readonly asOf?: LedgerAsOf | null }): string {
  if (!asOf) return '';
  const within = (alias: string, ranges: readonly LedgerRange[]): string =>
    `unnest(${intArray(ranges.map((range) => range.from))}, ${intArray(ranges.map((range) => range.to))}) as ${alias}`;
  const known = `select from unnest(${intArray(asOf.known.map((each) => each.watchSetId))},
      ${intArray(asOf.known.map((each) => each.from))}, ${intArray(asOf.known.map((each) => each.to))})
      as known (id, from_ledger, to_ledger) join trueup.watch_sets using (id)
    where ledger >= known.from_ledger and ledger < known.to_ledger and (everything or account = any(members))`;
  return `and (not exists (select from ${within('fresh (from_ledger, to_ledger)', asOf.fresh)}
      where ledger >= fresh.from_ledger and ledger < fresh.to_ledger) or exists (${known}))`;
}

function intArray(values: readonly number[]): string {
  return `'{${values.map(Math.trunc).join()}}'::int[]`;
}
