// Reading coverage: what is known of a range, for the accounts that a question is about.
import type { EntityManager } from '@mikro-orm/postgresql';
import { intersect, unite, type CoverageState } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { LAYER_CODES, LAYER_OF_CODE } from './entries.ts';
import { sql } from './database.ts';

/** Islands that are read at once; beyond so many holes the rest counts as not covered. */
const MAX_ISLANDS = 100_000;

export interface CoverageOfScope {
  readonly done: readonly LedgerRange[];
  readonly quarantined: readonly LedgerRange[];
  readonly unavailable: readonly LedgerRange[];
}

/**
 * What is done for every one of the accounts: an account is covered by each watch set that names it and by those that watch
 * everything. `null` asks for everything there is, which only a watch of everything covers.
 */
export async function coverageOf(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  accounts: readonly string[] | null,
): Promise<CoverageOfScope> {
  const { groups, sets } = await watchGroups(em, streamId, accounts);
  const islands = await sql<{ watch_set_id: number; from_ledger: number; to_ledger: number; state: CoverageState }>(
    em,
    `select watch_set_id, from_ledger, to_ledger, state from trueup.coverage_islands
     where stream_id = $1 and layer = $2 order by watch_set_id, from_ledger limit ${MAX_ISLANDS}`,
    [streamId, LAYER_CODES[layer]],
  );
  const rangesOf = (state: CoverageState, ids: ReadonlySet<number>): LedgerRange[] =>
    unite(
      islands
        .filter((island) => island.state === state && ids.has(island.watch_set_id))
        .map((island) => ({ from: island.from_ledger, to: island.to_ledger })),
    );
  const done = groups
    .map((ids) => rangesOf('done', new Set(ids)))
    .reduce((common, ranges) => intersect(common, ranges));
  const every = new Set(sets);
  return {
    done,
    quarantined: rangesOf('quarantined', every),
    unavailable: rangesOf('unavailable', every),
  };
}

/**
 * The watch sets that cover each group of accounts, never without a group, and all sets of the stream. `null` asks for everything
 * there is, which only a watch of everything covers.
 */
export async function watchGroups(
  em: EntityManager,
  streamId: number,
  accounts: readonly string[] | null,
): Promise<{ groups: number[][]; sets: number[] }> {
  const sets = await sql<{ id: number; everything: boolean; members: string[] }>(
    em,
    `select id, everything, case when $2::text[] is null then '{}' else array(
       select member from unnest(members) as member where member = any($2)) end as members
     from trueup.watch_sets where stream_id = $1 order by id`,
    [streamId, accounts],
  );
  const all = sets.filter((set) => set.everything).map((set) => set.id);
  return {
    // A set of everything has no members, so none comes twice.
    groups: groupsBySets(sets, accounts).map((ids) => [...all, ...ids]),
    sets: sets.map((set) => set.id),
  };
}

/** The different combinations of watch sets that name an account: as many as there were changes of the watch, not as accounts. */
function groupsBySets(
  sets: readonly { id: number; members: readonly string[] }[],
  accounts: readonly string[] | null,
): number[][] {
  if (accounts === null || accounts.length === 0) return [[]];
  const idsOf = new Map<string, number[]>(accounts.map((account) => [account, []]));
  for (const set of sets) for (const member of set.members) idsOf.get(member)?.push(set.id);
  const groups = new Map<string, number[]>();
  for (const ids of idsOf.values()) groups.set(ids.join(), ids);
  return [...groups.values()];
}

/** Ranges that were looked at and could not be had, over both layers, newest first; for health and people. */
export async function unreadableRanges(
  em: EntityManager,
  streamId: number,
  limit: number,
): Promise<{ range: LedgerRange; state: CoverageState; reason: string | null; detail: string | null }[]> {
  const rows = await sql<{
    from_ledger: number;
    to_ledger: number;
    state: CoverageState;
    reason: string | null;
    detail: string | null;
  }>(
    em,
    `select distinct from_ledger, to_ledger, state, reason, detail from trueup.coverage_chunks
     where stream_id = $1 and state <> 'done' order by from_ledger desc limit $2`,
    [streamId, limit],
  );
  return rows.map((row) => ({
    range: { from: row.from_ledger, to: row.to_ledger },
    state: row.state,
    reason: row.reason,
    detail: row.detail,
  }));
}

export interface CoverageCounts {
  readonly layer: Layer;
  readonly ranges: Readonly<Record<CoverageState, number>>;
}

/** How many islands of each state a stream has, per layer. */
export async function coverageCounts(em: EntityManager, streamId: number): Promise<CoverageCounts[]> {
  const rows = await sql<{ layer: number; done: number; quarantined: number; unavailable: number }>(
    em,
    `select layer, count(*) filter (where state = 'done')::int as done,
       count(*) filter (where state = 'quarantined')::int as quarantined,
       count(*) filter (where state = 'unavailable')::int as unavailable
     from trueup.coverage_islands where stream_id = $1 group by layer order by layer`,
    [streamId],
  );
  return rows.map(({ layer, ...ranges }) => ({ layer: LAYER_OF_CODE[layer]!, ranges }));
}
