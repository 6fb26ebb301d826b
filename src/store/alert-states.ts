// What each policy was last told, and which of its drifts two runs of the timetable have seen.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { OldestDrift, StandingDetails } from '../core/alert-words.ts';
import { OLDEST_SHOWN } from '../core/alert-words.ts';
import { NOTHING_TOLD, type AlertMemory } from '../core/alerting.ts';
import type { DriftKind } from '../core/drift.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { fromJson, toJson } from './json.ts';

/** Holds the policy's row until the commit, so that two replicas never decide at once; `now` is the database's. */
export async function lockAlertMemory(em: EntityManager, policy: string): Promise<{ memory: AlertMemory; now: Date }> {
  await sqlCount(em, `insert into trueup.alert_states (policy, state) values ($1, $2::jsonb) on conflict do nothing`, [
    policy,
    toJson(NOTHING_TOLD),
  ]);
  const [row] = await sql<{ state: unknown }>(
    em,
    `select state from trueup.alert_states where policy = $1 for update`,
    [policy],
  );
  // After the lock is had: the statement that waits for it has its time from before.
  const [clock] = await sql<{ now: string }>(em, 'select clock_timestamp() as now');
  return { memory: fromJson<AlertMemory>(row!.state), now: toDate(clock!.now) };
}

export async function saveAlertMemory(em: EntityManager, policy: string, memory: AlertMemory): Promise<void> {
  await sqlCount(em, `update trueup.alert_states set state = $2::jsonb, updated_at = now() where policy = $1`, [
    policy,
    toJson(memory),
  ]);
}

/**
 * Counts the drifts that a run saw as seen, after they were merged: by the timetable, up to the two that an alert needs. A drift
 * that opened anew in this run begins from none, whoever started the run.
 */
export async function countSightings(
  em: EntityManager,
  run: { readonly id: string; readonly policy: string; readonly trigger: 'scheduled' | 'manual' },
): Promise<void> {
  await sqlCount(
    em,
    `update trueup.drifts set scheduled_sightings = case when seen_runs = 1 then 0 else scheduled_sightings end + $3::int
     where policy = $1 and last_run_id = $2 and state <> 'resolved'
       and (seen_runs = 1 or ($3::int = 1 and scheduled_sightings < 2))`,
    [run.policy, run.id, run.trigger === 'scheduled' ? 1 : 0],
  );
}

const STANDING_SQL = `policy = $1 and state in ('open', 'acknowledged') and scheduled_sightings >= 2`;

/** The drifts that may be told of, grouped. */
export async function readStanding(em: EntityManager, policy: string): Promise<StandingDetails> {
  const counts = await sql<{ state: string; count: string }>(
    em,
    `select state, count(*) as count from trueup.drifts where ${STANDING_SQL} group by state`,
    [policy],
  );
  const of = (state: string) => Number(counts.find((row) => row.state === state)?.count ?? 0);
  const kinds = await sql<{ kind: DriftKind; count: string }>(
    em,
    `select kind, count(*) as count from trueup.drifts cross join unnest(kinds) as kind where ${STANDING_SQL}
     group by kind order by count(*) desc, kind`,
    [policy],
  );
  const values = await sql<{ asset: string; amount: string }>(
    em,
    `select asset, sum(value_at_risk)::text as amount from trueup.drifts where ${STANDING_SQL} and value_at_risk is not null
     group by asset order by sum(value_at_risk) desc, asset`,
    [policy],
  );
  return {
    count: of('open') + of('acknowledged'),
    unacknowledged: of('open'),
    kinds: kinds.map((row) => ({ kind: row.kind, count: Number(row.count) })),
    valueAtRisk: Object.fromEntries(values.map((row) => [row.asset, BigInt(row.amount)])),
    oldest: await oldestDrifts(em, policy),
  };
}

async function oldestDrifts(em: EntityManager, policy: string): Promise<OldestDrift[]> {
  const rows = await sql<{
    id: string;
    match_key: string;
    kinds: string;
    account: string;
    asset: string;
    value_at_risk: string | null;
    at: string;
  }>(
    em,
    `select id, match_key, array_to_string(kinds, ',') as kinds, account, asset, value_at_risk::text as value_at_risk,
       coalesce(item_at, first_seen_at) as at
     from trueup.drifts where ${STANDING_SQL} order by coalesce(item_at, first_seen_at), id limit ${OLDEST_SHOWN}`,
    [policy],
  );
  return rows.map((row) => ({
    id: row.id,
    matchKey: row.match_key,
    kinds: row.kinds.split(',') as DriftKind[],
    account: row.account,
    asset: row.asset,
    valueAtRisk: row.value_at_risk === null ? null : BigInt(row.value_at_risk),
    at: toDate(row.at),
  }));
}
