// How many drifts stand: counted whole by each run and kept true by everything that changes a state between runs.
import type { EntityManager } from '@mikro-orm/postgresql';
import { AGE_BUCKETS, type AgeCount } from '../core/ageing.ts';
import type { DriftKind, DriftState } from '../core/drift.ts';
import type { Level } from '../core/policy.ts';
import type { AssetTotal, KindCount } from '../core/run.ts';
import { sql, sqlCount } from './database.ts';

/**
 * Whatever changes drifts' states takes the policies' locks first, in the order of their names, so that counts and states
 * change together and nobody waits for one who waits for him.
 */
export async function lockDrifts(em: EntityManager, policies: readonly string[]): Promise<void> {
  for (const policy of [...new Set(policies)].sort()) {
    await sql(em, `select pg_advisory_xact_lock(hashtext('trueup.drifts'), hashtext($1))`, [policy]);
  }
}

export interface PolicyTotals {
  /** Open or acknowledged; so are all that follow but `exempt`. */
  readonly open: number;
  readonly exempt: number;
  readonly kinds: readonly Omit<KindCount, 'appeared'>[];
  readonly valueAtRisk: readonly AssetTotal[];
  /** Every bucket, youngest first. */
  readonly ages: readonly AgeCount[];
}

interface Group {
  level: Level;
  state: Exclude<DriftState, 'resolved'>;
  kinds: string;
  asset: string;
  bucket: number;
  value: string;
  count: string;
}

const DAY_SECONDS = 86_400;

/** Counts a policy's standing drifts in one pass and keeps the counts for lists; under the policy's lock. */
export async function countPolicy(em: EntityManager, policy: string): Promise<PolicyTotals> {
  const groups = await sql<Group>(
    em,
    `select level, state, array_to_string(kinds, ',') as kinds, asset,
       width_bucket(extract(epoch from now() - coalesce(item_at, first_seen_at)) / ${DAY_SECONDS}, $2::numeric[]) as bucket,
       coalesce(sum(value_at_risk), 0)::text as value, count(*)::text as count
     from trueup.drifts where policy = $1 and state <> 'resolved' group by 1, 2, 3, 4, 5`,
    [policy, AGE_BUCKETS.slice(1).map((bucket) => bucket.fromDays)],
  );
  await keepCounts(em, policy, groups);
  const standing = groups.filter((group) => group.state !== 'exempt');
  const kinds = sumsOf(standing.flatMap((group) => group.kinds.split(',').map((kind) => ({ ...group, key: kind }))));
  const assets = sumsOf(standing.map((group) => ({ ...group, key: group.asset })));
  const ages = sumsOf(standing.map((group) => ({ ...group, key: String(group.bucket) })));
  return {
    open: total(standing),
    exempt: total(groups) - total(standing),
    kinds: kinds.map(({ key, count }) => ({ kind: key as DriftKind, open: count })),
    valueAtRisk: assets.map(({ key, amount, count }) => ({ asset: key, amount, count })),
    ages: AGE_BUCKETS.map((bucket, i) => ({ ...bucket, count: ages.find(({ key }) => key === String(i))?.count ?? 0 })),
  };
}

async function keepCounts(em: EntityManager, policy: string, groups: readonly Group[]): Promise<void> {
  await sqlCount(em, `delete from trueup.drift_counts where policy = $1`, [policy]);
  await sqlCount(
    em,
    `insert into trueup.drift_counts (policy, level, state, kinds, count)
     select $1, level, state, string_to_array(kinds, ','), sum(count)
     from unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) as counted (level, state, kinds, count) group by 2, 3, 4`,
    [
      policy,
      groups.map((group) => group.level),
      groups.map((group) => group.state),
      groups.map((group) => group.kinds),
      groups.map((group) => group.count),
    ],
  );
}

/** A change of drifts' states between runs; under the policies' locks. */
export async function shiftCounts(
  em: EntityManager,
  changes: readonly { readonly id: string; readonly from: DriftState }[],
): Promise<void> {
  await sqlCount(
    em,
    `insert into trueup.drift_counts as counted (policy, level, state, kinds, count)
     select policy, level, moved.state, kinds, sum(step) from trueup.drifts as drift
       join unnest($1::uuid[], $2::text[]) as change (id, from_state) using (id)
       cross join lateral (values (change.from_state, -1), (drift.state, 1)) as moved (state, step)
     where moved.state <> 'resolved' group by 1, 2, 3, 4
     on conflict (policy, level, state, kinds) do update set count = counted.count + excluded.count`,
    [changes.map((change) => change.id), changes.map((change) => change.from)],
  );
}

/** How many stand in the states, none of which is `resolved`. */
export async function standingCount(
  em: EntityManager,
  filter: {
    readonly policy: string | null;
    readonly level: Level | null;
    readonly states: readonly DriftState[];
    readonly kinds: readonly DriftKind[] | null;
  },
): Promise<number> {
  const rows = await sql<{ count: string }>(
    em,
    `select coalesce(sum(count), 0)::text as count from trueup.drift_counts
     where ($1::text is null or policy = $1) and ($2::text is null or level = $2) and state = any($3)
       and ($4::text[] is null or kinds && $4)`,
    [filter.policy, filter.level, filter.states, filter.kinds],
  );
  return Number(rows[0]!.count);
}

function sumsOf(
  groups: readonly (Group & { readonly key: string })[],
): { key: string; amount: bigint; count: number }[] {
  return [...Map.groupBy(groups, (group) => group.key)]
    .map(([key, parts]) => ({
      key,
      amount: parts.reduce((sum, part) => sum + BigInt(part.value), 0n),
      count: total(parts),
    }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

function total(groups: readonly Group[]): number {
  return groups.reduce((sum, group) => sum + Number(group.count), 0);
}
