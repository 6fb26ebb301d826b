// Who changed what: one row for every mutation, written in the mutation's own transaction.
import { raw } from '@mikro-orm/core';
import type { FilterQuery } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { pageOf } from '../core/page.ts';
import type { Page, PageRequest } from '../core/page.ts';
import type { AuditEntry, AuditFilter } from '../core/status.ts';
import { AuditEntity } from './entities.ts';
import type { AuditRow } from './entities.ts';
import { given } from './filters.ts';

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
  await writeAudits(em, caller, [change]);
}

/** As `writeAudit`, a row for each of many changes that one call made. */
export async function writeAudits(em: EntityManager, caller: Caller, changes: readonly AuditedChange[]): Promise<void> {
  const rows = changes.map((change) => ({
    actor: caller.actor,
    role: caller.role,
    method: caller.method,
    requestId: caller.requestId,
    traceId: caller.traceId,
    peer: caller.peer ?? null,
    resource: `${change.resourceType}/${change.resourceId}`,
    reason: change.reason ?? null,
    before: toJson(change.before),
    after: toJson(change.after),
  }));
  await em.insertMany(AuditEntity, rows);
}

/** What a request did the first time, for a method whose repeated call must find its answer; null when it never came. */
export async function findAuditEntry(em: EntityManager, method: string, requestId: string): Promise<AuditEntry | null> {
  const row = await em.findOne(AuditEntity, { requestId, method }, { orderBy: { id: 'asc' } });
  return row === null ? null : toEntry(row);
}

/** Newest first. */
export async function listAudit(
  em: EntityManager,
  page: PageRequest,
  filter: AuditFilter = {},
): Promise<Page<AuditEntry>> {
  const { resourceType, resourceId } = filter;
  const conditions: FilterQuery<AuditRow>[] = [given({ actor: filter.actor, method: filter.method })];
  if (page.after !== null) conditions.push({ id: { $lt: readPosition(page.after['id']) } });
  if (resourceType !== undefined && resourceId !== undefined)
    conditions.push({ resource: `${resourceType}/${resourceId}` });
  else if (resourceType !== undefined) conditions.push({ [raw(`split_part(resource, '/', 1)`)]: resourceType });
  else if (resourceId !== undefined)
    conditions.push({ [raw(`substr(resource, strpos(resource, '/') + 1)`)]: resourceId });
  if (filter.from !== undefined) conditions.push({ at: { $gte: filter.from } });
  if (filter.to !== undefined) conditions.push({ at: { $lt: filter.to } });
  const rows = await em.find(AuditEntity, { $and: conditions }, { orderBy: { id: 'desc' }, limit: page.size + 1 });
  return pageOf(rows, page.size, (last) => ({ id: String(last.id) }), toEntry);
}

function toEntry(row: AuditRow): AuditEntry {
  const slash = row.resource.indexOf('/');
  return {
    id: row.id,
    at: row.at,
    actor: row.actor,
    role: row.role,
    method: row.method,
    requestId: row.requestId === '' ? null : row.requestId,
    resourceType: row.resource.slice(0, slash),
    resourceId: row.resource.slice(slash + 1),
    reason: row.reason,
    beforeJson: row.before,
    afterJson: row.after,
    traceId: row.traceId,
    peer: row.peer,
  };
}

function toJson(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const text = JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
  const bytes = Buffer.byteLength(text);
  return bytes <= MAX_STATE_BYTES ? text : JSON.stringify({ omitted_bytes: bytes });
}

function readPosition(id: unknown): bigint {
  if (typeof id !== 'string' || !/^\d{1,19}$/.test(id))
    throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
  return BigInt(id);
}
