// The timetable in the database: which job is due when, and one statement that says whose tick it is.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Schedule } from '../core/status.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { ScheduleEntity } from './entities.ts';
import { listJobHealth } from './job-health.ts';
import type { JobHealth } from './job-health.ts';

/** Ticks that one statement claims at most; what is left is claimed a moment later. */
const MAX_TICKS_PER_CLAIM = 100;

export interface ScheduleDefinition {
  /** Unique; the name under which its health is kept. */
  readonly name: string;
  /** The job that a tick enqueues. */
  readonly job: string;
  readonly policy?: string | null;
  readonly intervalMs: number;
  readonly enabled: boolean;
  /** How long after its first definition the first tick is due; at once unless told. */
  readonly firstDelayMs?: number;
}

export interface Tick {
  readonly schedule: string;
  readonly job: string;
  readonly policy: string | null;
  /** When it was due; of several missed ticks, the oldest. */
  readonly dueAt: Date;
}

/** Defines a schedule or changes it. An unchanged one keeps its due time, so that a restart neither adds nor loses a tick. */
export async function upsertSchedule(em: EntityManager, schedule: ScheduleDefinition): Promise<void> {
  await sql(
    em,
    `insert into trueup.schedules as kept (name, job, policy, interval_ms, enabled, due_at)
     values ($1, $2, $3, $4::bigint, $5, now() + $6 * interval '1 millisecond')
     on conflict (name) do update
       set job = excluded.job, policy = excluded.policy, interval_ms = excluded.interval_ms, enabled = excluded.enabled, updated_at = now(),
           due_at = case when kept.interval_ms = excluded.interval_ms then kept.due_at
                         else least(kept.due_at, now() + excluded.interval_ms * interval '1 millisecond') end
       where (kept.job, kept.policy, kept.interval_ms, kept.enabled)
             is distinct from (excluded.job, excluded.policy, excluded.interval_ms, excluded.enabled)`,
    [
      schedule.name,
      schedule.job,
      schedule.policy ?? null,
      schedule.intervalMs,
      schedule.enabled,
      schedule.firstDelayMs ?? 0,
    ],
  );
}

/** Switches off what the configuration no longer names; its record stays. */
export async function disableSchedulesExcept(em: EntityManager, names: readonly string[]): Promise<number> {
  return sqlCount(
    em,
    `update trueup.schedules set enabled = false, updated_at = now() where enabled and name <> all($1::text[])`,
    [names],
  );
}

/**
 * Claims every due tick and enqueues it in one transaction, so that among any number of replicas each tick is enqueued
 * once, or not at all if the transaction fails, and then it is still due.
 *
 * The next due time lies on the grid of the old one and after now: missed ticks coalesce into one, and since it only
 * moves forward, a clock set back schedules no tick twice. Only when the clock was set back by so much that the
 * next tick lies more than an interval ahead is it pulled in to one interval from now.
 */
export async function claimDue(
  em: EntityManager,
  enqueue: (em: EntityManager, tick: Tick) => Promise<unknown>,
): Promise<Tick[]> {
  return em.transactional(async (tx) => {
    const rows = await sql<{ name: string; job: string; policy: string | null; was_due: string; due: boolean }>(
      tx,
      `with candidate as (
         select name, due_at, due_at <= now() as due, interval_ms * interval '1 millisecond' as step
         from trueup.schedules
         where enabled and (due_at <= now() or due_at > now() + interval_ms * interval '1 millisecond')
         order by due_at limit $1
         for update skip locked)
       update trueup.schedules as kept
       set due_at = case when c.due
             then c.due_at + c.step * (floor(extract(epoch from now() - c.due_at) / extract(epoch from c.step)) + 1)
             else now() + c.step end,
           last_claimed_at = case when c.due then now() else kept.last_claimed_at end
       from candidate as c
       where kept.name = c.name
       returning kept.name, kept.job, kept.policy, c.due_at as was_due, c.due`,
      [MAX_TICKS_PER_CLAIM],
    );
    const ticks = rows
      .filter((row) => row.due)
      .map((row) => ({ schedule: row.name, job: row.job, policy: row.policy, dueAt: toDate(row.was_due) }));
    for (const tick of ticks) await enqueue(tx, tick);
    return ticks;
  });
}

/** Every schedule with its record over all replicas. `inFlight` tells how many runs of a name are under way. */
export async function listSchedules(em: EntityManager, inFlight: ReadonlyMap<string, number>): Promise<Schedule[]> {
  const schedules = await em.find(ScheduleEntity, {}, { orderBy: { name: 'asc' } });
  const records = new Map((await listJobHealth(em)).map((record) => [record.name, record]));
  return schedules.map(({ name, enabled, intervalMs, dueAt }) => ({
    ...(records.get(name) ?? neverRan(name)),
    enabled,
    intervalMs,
    dueAt: enabled ? dueAt : null,
    inFlight: inFlight.get(name) ?? 0,
  }));
}

function neverRan(name: string): JobHealth {
  return {
    ...{
      name,
      runs: 0,
      succeeded: 0,
      failed: 0,
      deadLettered: 0,
      lastStartedAt: null,
      lastSuccessAt: null,
      lastFailureAt: null,
    },
    ...{ lastError: null, lastDurationMs: null, meanDurationMs: null, health: null },
  };
}
