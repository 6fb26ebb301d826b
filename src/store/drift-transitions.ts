// Changes of drifts' states: each with its history, its counts and its revision, in the caller's transaction.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isUuid } from '../core/ids.ts';
import type { Drift, DriftState, DriftTransition, DriftTransitionRecord, ResolutionCause } from '../core/drift.ts';
import { sql, toDate } from './database.ts';
import { lockDrifts, shiftCounts } from './drift-counts.ts';
import { DRIFT_COLUMNS, toDrift, type DriftRow } from './drifts.ts';

/** Who acts where nobody asked: the service itself. */
export const SERVICE_ACTOR = 'trueup';
/** Transitions shown with a drift. */
const MAX_TRANSITIONS = 100;
/** Exemptions ended by one statement. */
const EXPIRE_BATCH_ROWS = 1000;

export interface DriftChange {
  readonly id: string;
  readonly from: DriftState;
  readonly to: DriftState;
}

export interface DriftChanges {
  readonly transition: DriftTransition;
  readonly changes: readonly DriftChange[];
  readonly reason: string;
  readonly actor: string;
  /** Null leaves the assignee as it is. */
  readonly assignee: string | null;
  readonly owner: string | null;
  readonly exemptUntil: Date | null;
  /** Of a resolution; absent: a person said so. */
  readonly cause?: ResolutionCause;
}

/** What the service itself changes. */
const BY_SERVICE = { actor: SERVICE_ACTOR, assignee: null, owner: null, exemptUntil: null } as const;

/** The drifts of these ids, in their order, theirs to change until the transaction ends; those that don't exist are left out. */
export async function lockDriftsById(em: EntityManager, ids: readonly string[]): Promise<Drift[]> {
  const known = ids.filter(isUuid);
  const policies = await sql<{ policy: string }>(
    em,
    `select distinct policy from trueup.drifts where id = any($1::uuid[])`,
    [known],
  );
  await lockDrifts(
    em,
    policies.map((row) => row.policy),
  );
  return readDrifts(em, known, 'for update');
}

async function readDrifts(em: EntityManager, ids: readonly string[], how = ''): Promise<Drift[]> {
  const rows = await sql<DriftRow>(
    em,
    `select ${DRIFT_COLUMNS} from trueup.drifts where id = any($1::uuid[]) order by id ${how}`,
    [ids],
  );
  const byId = new Map(rows.map((row) => [row.id, toDrift(row)]));
  return ids.flatMap((id) => byId.get(id.toLowerCase()) ?? []);
}

/** Makes the changes and returns the drifts as they are then, in the order of the changes. */
export async function changeDrifts(em: EntityManager, what: DriftChanges): Promise<Drift[]> {
  const ids = what.changes.map((change) => change.id);
  await sql(em, CHANGE_SQL, [
    ids,
    what.changes.map((change) => change.to),
    what.reason,
    what.actor,
    what.assignee,
    what.owner,
    what.exemptUntil?.toISOString() ?? null,
    what.cause ?? 'manual',
  ]);
  await shiftCounts(em, what.changes);
  await recordTransitions(em, what);
  return readDrifts(em, ids);
}

// A drift that comes back within a day is the same episode: one story, one alert.
const CHANGE_SQL = `
  update trueup.drifts as drift set
    state = change.state,
    reason = $3,
    assignee = coalesce($5, drift.assignee),
    owner = case when change.state = 'exempt' then coalesce($6, drift.owner) end,
    exempt_until = case when change.state = 'exempt' then coalesce($7::timestamptz, drift.exempt_until) end,
    resolution_cause = case when change.state = 'resolved' then $8 end,
    resolved_at = case when change.state = 'resolved' then now() end,
    episode = drift.episode + (drift.state = 'resolved' and drift.resolved_at < now() - interval '24 hours')::int,
    reopened_count = drift.reopened_count + (drift.state = 'resolved')::int,
    seen_runs = case when drift.state = 'resolved' then 0 else drift.seen_runs end,
    transition_at = now(),
    transition_actor = $4,
    revision = drift.revision + 1
  from unnest($1::uuid[], $2::text[]) as change (id, state) where drift.id = change.id`;

async function recordTransitions(
  em: EntityManager,
  what: Pick<DriftChanges, 'transition' | 'changes' | 'reason' | 'actor'>,
): Promise<void> {
  await sql(
    em,
    `insert into trueup.drift_transitions (drift_id, transition, from_state, to_state, reason, actor)
     select id, $4, from_state, to_state, $5, $6 from unnest($1::uuid[], $2::text[], $3::text[]) as change (id, from_state, to_state)`,
    [
      what.changes.map((change) => change.id),
      what.changes.map((change) => change.from),
      what.changes.map((change) => change.to),
      what.transition,
      what.reason,
      what.actor,
    ],
  );
}

/** Newest first. */
export async function transitionsOf(em: EntityManager, driftId: string): Promise<DriftTransitionRecord[]> {
  const rows = await sql<{
    transition: DriftTransition;
    from_state: DriftState;
    to_state: DriftState;
    reason: string;
    actor: string;
    at: string;
  }>(
    em,
    `select transition, from_state, to_state, reason, actor, at from trueup.drift_transitions
     where drift_id = $1 order by id desc limit ${MAX_TRANSITIONS}`,
    [driftId],
  );
  return rows.map((row) => ({
    transition: row.transition,
    from: row.from_state,
    to: row.to_state,
    reason: row.reason,
    actor: row.actor,
    at: toDate(row.at),
  }));
}

/** Opens again what was exempt until a time that has passed; under the policy's lock. Returns how many. */
export async function endExemptions(em: EntityManager, policy: string): Promise<number> {
  for (let ended = 0; ;) {
    const rows = await sql<{ id: string }>(
      em,
      `select id from trueup.drifts where policy = $1 and state = 'exempt' and exempt_until <= now()
       order by id limit ${EXPIRE_BATCH_ROWS} for update`,
      [policy],
    );
    if (rows.length === 0) return ended;
    ended += rows.length;
    await changeDrifts(em, {
      transition: 'reopen',
      changes: rows.map(({ id }) => ({ id, from: 'exempt', to: 'open' })),
      reason: 'the exemption has ended',
      ...BY_SERVICE,
    });
  }
}

export async function policiesWithEndedExemptions(em: EntityManager, policy: string | null): Promise<string[]> {
  const rows = await sql<{ policy: string }>(
    em,
    `select distinct policy from trueup.drifts
     where state = 'exempt' and exempt_until <= now() and ($1::text is null or policy = $1) order by policy`,
    [policy],
  );
  return rows.map((row) => row.policy);
}

/** Resolves drifts whose sides were read again and agree, unless a run has seen them since; under the policy's lock. */
export async function resolveAgreed(
  em: EntityManager,
  policy: string,
  agreed: readonly { readonly matchKey: string; readonly occurrence: number }[],
  why: { readonly reason: string; readonly cause: ResolutionCause; readonly seenBeforeMs: number },
): Promise<number> {
  const rows = await sql<{ id: string; state: DriftState }>(
    em,
    `select id, state from trueup.drifts where policy = $1 and state <> 'resolved' and last_seen_at <= $4
       and (match_key, occurrence) in (select * from unnest($2::text[], $3::int[])) order by id for update`,
    [
      policy,
      agreed.map((each) => each.matchKey),
      agreed.map((each) => each.occurrence),
      new Date(why.seenBeforeMs).toISOString(),
    ],
  );
  if (rows.length === 0) return 0;
  const changes = rows.map(({ id, state }) => ({ id, from: state, to: 'resolved' as const }));
  await changeDrifts(em, { transition: 'resolve', changes, reason: why.reason, cause: why.cause, ...BY_SERVICE });
  return rows.length;
}
