// Who changed what: one row for every mutation, written in the mutation's own transaction.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { pageOf } from '../core/page.ts';
import type { Page, PageRequest } from '../core/page.ts';
import type { AuditEntry, AuditFilter } from '../core/status.ts';
import { sql, toDate } from './database.ts';

/** Before and after are kept whole up to this, and as a note of their size beyond it. */
const MAX_STATE_BYTES = 64 * 1024;

/** Who calls, as the door found out: the actor is the token's name, and is never taken from a header. */
export interface Caller {
  readonly actor: string;
  readonly role: AuditEntry['role'];
  /** package.Service/Method, or the job's name. */
  readonly method: string;
  readonly requestId: string;
  readonly traceId: string | null;
  /** Address that the call came from. */
  readonly peer?: string | null;
}

export interface AuditedChange {
  readonly resourceType: string;
  readonly resourceId: string;
  readonly reason?: string | null;
  /** Plain JSON values without secrets; absent or null: there was nothing. */
  readonly before?: unknown;
  readonly after?: unknown;
}

/** Writes one row; call it with the `em` of the transaction that makes the change. */
export async function writeAudit(em: EntityManager, caller: Caller, change: AuditedChange): Promise<void> {
  await sql(
    em,
    `insert into trueup.audit_log (actor, role, method, request_id, trace_id, peer, resource, reason, before, after)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10::jsonb)`,
    [caller.actor, caller.role, caller.method, caller.requestId, caller.traceId, caller.peer ?? null, `${change.resourceType}/${change.resourceId}`, change.reason ?? null, toJson(change.before), toJson(change.after)],
  );
}

/** What a request did the first time, for a method whose repeated call must find its answer; null when it never came. */
export async function findAuditEntry(em: EntityManager, method: string, requestId: string): Promise<AuditEntry | null> {
  const rows = await sql<AuditRow>(em, `select ${COLUMNS} from trueup.audit_log where request_id = $1 and method = $2 order by id limit 1`, [requestId, method]);
  return rows[0] === undefined ? null : toEntry(rows[0]);
}

/** Newest first. */
export async function listAudit(em: EntityManager, page: PageRequest, filter: AuditFilter = {}): Promise<Page<AuditEntry>> {
  const conditions: string[] = [];
  const values: unknown[] = [];
  const where = (condition: string, value: unknown): void => {
    values.push(value);
    conditions.push(condition.replace('?', `$${values.length}`));
  };
  if (page.after !== null) where('id < ?::bigint', readPosition(page.after['id']));
  if (filter.actor !== undefined) where('actor = ?', filter.actor);
  if (filter.method !== undefined) where('method = ?', filter.method);
  if (filter.resourceType !== undefined && filter.resourceId !== undefined) where('resource = ?', `${filter.resourceType}/${filter.resourceId}`);
  else if (filter.resourceType !== undefined) where(`split_part(resource, '/', 1) = ?`, filter.resourceType);
  else if (filter.resourceId !== undefined) where(`substr(resource, strpos(resource, '/') + 1) = ?`, filter.resourceId);
  if (filter.from !== undefined) where('at >= ?', filter.from);
  if (filter.to !== undefined) where('at < ?', filter.to);
  values.push(page.size + 1);
  const rows = await sql<AuditRow>(em, `select ${COLUMNS} from trueup.audit_log ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''} order by id desc limit $${values.length}`, values);
  return pageOf(rows.map(toEntry), page.size, (last) => ({ id: String(last.id) }));
}

// The text of jsonb as PostgreSQL writes it; nobody here needs it as a value.
const COLUMNS = 'id, at, actor, role, method, request_id, trace_id, peer, resource, reason, before::text as before, after::text as after';

interface AuditRow {
  readonly id: string;
  readonly at: string;
  readonly actor: string;
  readonly role: AuditEntry['role'];
  readonly method: string;
  readonly request_id: string;
  readonly trace_id: string | null;
  readonly peer: string | null;
  readonly resource: string;
  readonly reason: string | null;
  readonly before: string | null;
  readonly after: string | null;
}

function toEntry(row: AuditRow): AuditEntry {
  const slash = row.resource.indexOf('/');
  return {
    id: BigInt(row.id),
    at: toDate(row.at),
    actor: row.actor,
    role: row.role,
    method: row.method,
    requestId: row.request_id === '' ? null : row.request_id,
    resourceType: row.resource.slice(0, slash),
    resourceId: row.resource.slice(slash + 1),
    reason: row.reason,
    beforeJson: row.before,
    afterJson: row.after,
    traceId: row.trace_id,
    peer: row.peer,
  };
}

function toJson(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const text = JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
  const bytes = Buffer.byteLength(text);
  return bytes <= MAX_STATE_BYTES ? text : JSON.stringify({ omitted_bytes: bytes });
}

function readPosition(id: unknown): string {
  if (typeof id !== 'string' || !/^\d{1,19}$/.test(id)) throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
  return id;
}
