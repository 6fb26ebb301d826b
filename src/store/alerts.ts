// Alerts as rows: the outbox between what happened and who is told.
import type { FilterQuery } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { MAX_ATTEMPTS_KEPT } from '../core/alert.ts';
import type { Alert, AlertFilter, DeliveryAttempt } from '../core/alert.ts';
import { TrueUpError } from '../core/errors.ts';
import { isUuid } from '../core/ids.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { AlertEntity } from './entities.ts';
import type { AlertRow } from './entities.ts';
import { given, olderThan } from './filters.ts';
import { toJson } from './json.ts';

export interface AlertToInsert extends Pick<
  Alert,
  | 'id'
  | 'messageId'
  | 'dedupeKey'
  | 'kind'
  | 'severity'
  | 'policy'
  | 'stream'
  | 'runId'
  | 'episode'
  | 'title'
  | 'details'
  | 'sandbox'
> {
  /** Null: what it tells of has no end that would be told. */
  readonly openKey: string | null;
  /** The message whose end it tells. */
  readonly resolves: string | null;
  /** Null: it is to be sent. */
  readonly suppressReason: string | null;
}

/** False where an alert with this key is open already: nothing was inserted. */
export async function insertAlert(em: EntityManager, alert: AlertToInsert): Promise<boolean> {
  const state = alert.suppressReason === null ? ('pending' as const) : ('suppressed' as const);
  const inserted = await em
    .createQueryBuilder(AlertEntity)
    .insert({ ...alert, state, nextAttemptAt: null, deliveredAt: null })
    .onConflict()
    .ignore()
    .execute('run', false);
  return inserted.affectedRows === 1;
}

/** Ends what was told under this key; null where nothing was open. */
export async function closeAlert(em: EntityManager, openKey: string): Promise<{ messageId: string } | null> {
  const [row] = await sql<{ message_id: string }>(
    em,
    `update trueup.alerts set open_key = null where open_key = $1 returning message_id`,
    [openKey],
  );
  return row === undefined ? null : { messageId: row.message_id };
}

export async function getAlert(em: EntityManager, id: string): Promise<Alert | null> {
  const row = isUuid(id) ? await em.findOne(AlertEntity, { id }) : null;
  return row === null ? null : toAlert(row);
}

/** Keeps others from changing the alert until the commit. */
export async function lockAlert(em: EntityManager, id: string): Promise<void> {
  if (isUuid(id)) await sql(em, 'select 1 from trueup.alerts where id = $1 for update', [id]);
}

/** Newest first. The total is counted with the first page only. */
export async function listAlerts(em: EntityManager, filter: AlertFilter, page: PageRequest): Promise<Page<Alert>> {
  const { states, kinds, policy, channel, createdFrom, createdTo } = filter;
  const where: FilterQuery<AlertRow>[] = [given({ policy, channel, state: states?.slice(), kind: kinds?.slice() })];
  if (createdFrom !== undefined) where.push({ createdAt: { $gte: createdFrom.toISOString() } });
  if (createdTo !== undefined) where.push({ createdAt: { $lt: createdTo.toISOString() } });
  const after = page.after === null ? [] : [readPosition(page.after)];
  const rows = await em.find(
    AlertEntity,
    { $and: [...where, ...after] },
    { orderBy: { createdAt: 'desc', id: 'desc' }, limit: page.size + 1 },
  );
  const result = pageOf(rows, page.size, (row) => ({ at: row.createdAt, id: row.id }), toAlert);
  return page.after === null ? { ...result, totalSize: await em.count(AlertEntity, { $and: where }) } : result;
}

export interface Attempted {
  readonly state: Alert['state'];
  readonly attempt: DeliveryAttempt;
  /** When the next one is due; null: none is. */
  readonly retryAfterMs: number | null;
}

/** Writes an attempt down; false where another worker, or a replay, was faster, and nothing was written. */
export async function recordAttempt(em: EntityManager, alert: Alert, done: Attempted): Promise<boolean> {
  const kept = [...alert.attempts, done.attempt].slice(-MAX_ATTEMPTS_KEPT);
  const changed = await sqlCount(
    em,
    `update trueup.alerts set state = $4, attempts = $5::jsonb, tries = tries + 1, attempt_count = attempt_count + 1,
       next_attempt_at = clock_timestamp() + $6 * interval '1 ms',
       delivered_at = case when $4 = 'delivered' then clock_timestamp() else delivered_at end
     where id = $1 and state = 'pending' and tries = $2 and replay_count = $3`,
    [alert.id, alert.tries, alert.replayCount, done.state, toJson(kept), done.retryAfterMs],
  );
  return changed === 1;
}

/** Gives a pending alert its channel, in place of the one that it had; false where another worker was faster. */
export async function setChannel(
  em: EntityManager,
  alert: Pick<Alert, 'id' | 'channel'>,
  channel: { readonly name: string; readonly kind: string },
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.alerts set channel = $3, channel_kind = $4 where id = $1 and channel = $2 and state = 'pending'`,
    [alert.id, alert.channel ?? '', channel.name, channel.kind],
  );
  return changed === 1;
}

/** The same message for another channel, to be sent. */
export async function copyAlert(
  em: EntityManager,
  id: string,
  copy: { readonly id: string; readonly channel: string; readonly kind: string },
): Promise<void> {
  await sqlCount(
    em,
    `insert into trueup.alerts (id, message_id, dedupe_key, resolves, kind, severity, state, channel, channel_kind, policy, stream,
       run_id, episode, title, details, sandbox, created_at)
     select $2, message_id, dedupe_key, resolves, kind, severity, 'pending', $3, $4, policy, stream, run_id, episode, title,
       details, sandbox, created_at
     from trueup.alerts where id = $1`,
    [id, copy.id, copy.channel, copy.kind],
  );
}

/** Ends a pending alert without a delivery; false where it was not pending any more. */
export async function endAlert(
  em: EntityManager,
  id: string,
  end: { readonly state: 'suppressed' | 'dead_lettered'; readonly suppressReason: string | null },
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.alerts set state = $2, suppress_reason = $3, next_attempt_at = null where id = $1 and state = 'pending'`,
    [id, end.state, end.suppressReason],
  );
  return changed === 1;
}

/** Puts an alert back to be sent, with all its attempts before it. */
export async function reviveAlert(em: EntityManager, id: string): Promise<void> {
  await sqlCount(
    em,
    `update trueup.alerts set state = 'pending', suppress_reason = null, tries = 0, replay_count = replay_count + 1,
       next_attempt_at = clock_timestamp() where id = $1`,
    [id],
  );
}

/** How the channels of one message fared. */
export async function messageStates(em: EntityManager, messageId: string): Promise<Alert['state'][]> {
  return (await em.find(AlertEntity, { messageId })).map((row) => row.state);
}

/** Alerts deleted by one statement, so that pruning never holds locks for long. */
const PRUNE_BATCH_ROWS = 1000;

/** Deletes old alerts that are over: neither waiting to be sent nor telling of what still lasts. */
export async function pruneAlerts(em: EntityManager, days: number): Promise<void> {
  for (;;) {
    const deleted = await sqlCount(
      em,
      `delete from trueup.alerts where id = any(array(
         select id from trueup.alerts where created_at < now() - $1 * interval '1 day' and state <> 'pending' and open_key is null
         order by created_at limit ${PRUNE_BATCH_ROWS}))`,
      [days],
    );
    if (deleted < PRUNE_BATCH_ROWS) return;
  }
}

export interface UndeliveredAlerts {
  readonly count: number;
  /** Age of the oldest, seconds; 0 when there is none. */
  readonly oldestSeconds: number;
}

export async function undeliveredAlerts(em: EntityManager): Promise<UndeliveredAlerts> {
  const [row] = await sql<{ count: string; oldest: string }>(
    em,
    `select count(*) as count, greatest(0, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)) as oldest
     from trueup.alerts where state = 'pending'`,
  );
  return { count: Number(row!.count), oldestSeconds: Number(row!.oldest) };
}

function toAlert(row: AlertRow): Alert {
  const { openKey: _, attemptCount: __, channel, channelKind, createdAt, ...rest } = row;
  return {
    ...rest,
    channel: channel === '' ? null : channel,
    channelKind: channelKind === '' ? null : channelKind,
    createdAt: toDate(createdAt),
  };
}

function readPosition({ at, id }: Readonly<Record<string, unknown>>): ReturnType<typeof olderThan> {
  if (typeof at === 'string' && typeof id === 'string' && isUuid(id) && !Number.isNaN(Date.parse(at)))
    return olderThan(at, id);
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}
