// What changed since somebody last looked: small questions that are asked once a second.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { AuditEntry } from '../core/status.ts';
import { sql, toDate } from './database.ts';

/** Reads a sequence's own row: it costs the same however many runs there are. */
export async function lastChange(em: EntityManager): Promise<bigint> {
  const rows = await sql<{ last_value: string }>(em, 'select last_value from trueup.change_sequence');
  return BigInt(rows[0]!.last_value);
}

/** Runs that changed after one position, in the order of their last change. */
export async function runIdsChangedSince(
  em: EntityManager,
  since: bigint,
  limit: number,
): Promise<{ id: string; sequence: bigint }[]> {
  const rows = await sql<{ id: string; sequence: string }>(
    em,
    `select id, sequence::text as sequence from trueup.reconciliations where sequence > $1::bigint order by sequence limit $2`,
    [since.toString(), limit],
  );
  return rows.map((row) => ({ id: row.id, sequence: BigInt(row.sequence) }));
}

/** The newest run of each policy that has one, whatever its state; or the newest finished one. */
export async function newestRunIds(em: EntityManager, which: 'any' | 'finished', limit: number): Promise<string[]> {
  const rows = await sql<{ id: string }>(
    em,
    `select distinct on (policy) id, policy from trueup.reconciliations
     where $1 or state in ('succeeded', 'failed', 'cancelled') order by policy, created_at desc, id limit $2`,
    [which === 'any', limit],
  );
  return rows.map((row) => row.id);
}

/** What an alert looks like to whoever watches: another text means that it changed. */
const ALERT_LOOK = `concat_ws('/', state, tries, replay_count, open_key is null)`;

/** The newest alerts and all that wait to be sent, oldest first, each with its look. */
export async function presentAlerts(em: EntityManager, limit: number): Promise<Map<string, string>> {
  const rows = await sql<{ id: string; look: string }>(
    em,
    `select id, look from (
       (select id, created_at, ${ALERT_LOOK} as look from trueup.alerts order by created_at desc, id desc limit $1)
       union
       (select id, created_at, ${ALERT_LOOK} from trueup.alerts where state = 'pending' order by created_at desc limit $1)
     ) as alert order by created_at, id`,
    [limit],
  );
  return new Map(rows.map((row) => [row.id, row.look]));
}

/** Drifts of a policy that appeared, came back or were resolved at or after a time, newest first. */
export async function driftIdsChangedSince(
  em: EntityManager,
  policy: string,
  since: Date,
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ id: string }>(
    em,
    `select id from trueup.drifts
     where policy = $1 and (first_seen_at >= $2 or transition_at >= $2) order by greatest(first_seen_at, transition_at) desc, id limit $3`,
    [policy, since, limit],
  );
  return rows.map((row) => row.id);
}

export type AuditLine = Pick<AuditEntry, 'id' | 'at' | 'actor' | 'method' | 'resourceType' | 'resourceId'>;

/** Changes after an id, oldest first; with `since` null the newest `limit` of all, oldest first. */
export async function auditSince(em: EntityManager, since: bigint | null, limit: number): Promise<AuditLine[]> {
  const rows = await sql<{ id: string; at: string; actor: string; method: string; resource: string }>(
    em,
    since === null
      ? `select * from (select id, at, actor, method, resource from trueup.audit_log order by id desc limit $1) as newest order by id`
      : `select id, at, actor, method, resource from trueup.audit_log where id > $2::bigint order by id limit $1`,
    since === null ? [limit] : [limit, since.toString()],
  );
  return rows.map((row) => {
    const slash = row.resource.indexOf('/');
    return {
      id: BigInt(row.id),
      at: toDate(row.at),
      actor: row.actor,
      method: row.method,
      resourceType: row.resource.slice(0, slash),
      resourceId: row.resource.slice(slash + 1),
    };
  });
}

export interface ServerFacts {
  readonly serverVersion: string;
  /** Name of the newest migration; null before the first. */
  readonly schemaVersion: string | null;
}

export async function readServerFacts(em: EntityManager): Promise<ServerFacts> {
  const [version] = await sql<{ server_version: string }>(em, 'show server_version');
  const [migration] = await sql<{ name: string }>(em, 'select name from trueup.migrations order by id desc limit 1');
  return { serverVersion: version!.server_version, schemaVersion: migration?.name ?? null };
}

export interface PoolFacts {
  readonly used: number;
  readonly idle: number;
  readonly waiting: number;
  readonly max: number;
}

/** This process's own connections. */
export async function readPool(em: EntityManager): Promise<PoolFacts> {
  const pool = (await em.getConnection().getNativeClient()) as {
    totalCount: number;
    idleCount: number;
    waitingCount: number;
    options: { max: number };
  };
  return {
    used: pool.totalCount - pool.idleCount,
    idle: pool.idleCount,
    waiting: pool.waitingCount,
    max: pool.options.max,
  };
}
