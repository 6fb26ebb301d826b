// Exports as rows: one statement a change, each only while the export is the caller's to change, so that nothing overwrites an end.
import type { FilterQuery } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { REASONS, type Reason } from '../core/errors.ts';
import type { ExportJob, ExportListFilter, ExportOrder, ExportProgress } from '../core/export.ts';
import { isUuid } from '../core/ids.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { ExportEntity } from './entities.ts';
import type { ExportRow } from './entities.ts';
import { given, olderThan } from './filters.ts';
import { toJson } from './json.ts';

/** An export as one worker holds it. */
export interface HeldExport extends ExportJob {
  /** How many workers have begun it; the last one's word counts, as the others were taken for dead. */
  readonly attempt: number;
}

export interface ExportToInsert extends ExportOrder {
  readonly id: string;
  readonly requester: string;
  readonly requestId: string | null;
  readonly sandbox: boolean;
}

/** False where the request id is known: nothing was inserted. */
export async function insertExport(em: EntityManager, order: ExportToInsert): Promise<boolean> {
  const inserted = await em
    .createQueryBuilder(ExportEntity)
    .insert({ ...order, state: 'pending' as const })
    .onConflict()
    .ignore()
    .execute('run', false);
  return inserted.affectedRows === 1;
}

export async function getExport(em: EntityManager, id: string): Promise<ExportJob | null> {
  return isUuid(id) ? orNull(await em.findOne(ExportEntity, { id })) : null;
}

export async function getExportByRequest(em: EntityManager, requestId: string): Promise<ExportJob | null> {
  return orNull(await em.findOne(ExportEntity, { requestId }));
}

/** Newest first, with the number of all that the filter selects. */
export async function listExports(
  em: EntityManager,
  { states, kinds, requester }: ExportListFilter,
  page: PageRequest,
): Promise<Page<ExportJob>> {
  const selected = given({ state: states?.slice(), kind: kinds?.slice(), requester });
  const where: FilterQuery<ExportRow>[] = [selected];
  if (page.after !== null) where.push(olderThan(String(page.after.createdAt), String(page.after.id)));
  const rows = await em.find(
    ExportEntity,
    { $and: where },
    { orderBy: { createdAt: 'desc', id: 'desc' }, limit: page.size + 1 },
  );
  const totalSize = await em.count(ExportEntity, selected);
  return { ...pageOf(rows, page.size, (row) => ({ createdAt: row.createdAt, id: row.id }), toExport), totalSize };
}

/** Takes a waiting export, or one whose worker died; null where it is over. */
export async function beginExport(em: EntityManager, id: string): Promise<HeldExport | null> {
  const rows = await sql(
    em,
    `update trueup.exports set state = 'processing', started_at = coalesce(started_at, now()), attempt = attempt + 1,
       progress = null, sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('pending', 'processing') and not cancel_requested returning *`,
    [id],
  );
  return rows[0] === undefined ? null : toExport(em.map(ExportEntity, rows[0]));
}

/** Whether the worker may go on: nobody asked for it to be cancelled, and no other worker has it. */
export async function noteExportProgress(
  em: EntityManager,
  { id, attempt }: HeldExport,
  progress: ExportProgress,
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.exports set progress = $3::jsonb, sequence = nextval('trueup.change_sequence')
     where id = $1 and attempt = $2 and state = 'processing' and not cancel_requested`,
    [id, attempt, toJson(progress)],
  );
  return changed === 1;
}

/** False where it isn't this worker's any more, or was cancelled: then its manifest must not be kept. */
export async function completeExport(
  em: EntityManager,
  { id, attempt }: HeldExport,
  done: { readonly progress: ExportProgress; readonly manifestId: string; readonly artifactId: string },
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.exports set state = 'completed', progress = $3::jsonb, manifest_id = $4, artifact_id = $5,
       completed_at = now(), sequence = nextval('trueup.change_sequence')
     where id = $1 and attempt = $2 and state = 'processing' and not cancel_requested`,
    [id, attempt, toJson(done.progress), done.manifestId, done.artifactId],
  );
  return changed === 1;
}

/** Ends an export without a manifest; with an attempt, only while that worker has it. */
export async function endExport(
  em: EntityManager,
  { id, attempt }: { readonly id: string; readonly attempt?: number },
  state: 'failed' | 'cancelled',
  error: { readonly reason: Reason; readonly message: string; readonly fix: string } | null,
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.exports set state = $2, error_reason = $3, error_message = $4, error_fix = $5, completed_at = now(),
       sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('pending', 'processing') and ($6::int is null or attempt = $6)`,
    [id, state, error?.reason ?? null, error?.message ?? null, error?.fix ?? null, attempt ?? null],
  );
  return changed === 1;
}

/** One that nobody has begun is cancelled at once; one under way by its worker, at its next step. False: it is over. */
export async function requestExportCancel(em: EntityManager, id: string): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.exports set cancel_requested = true, sequence = nextval('trueup.change_sequence'),
       completed_at = case when state = 'pending' then now() end,
       state = case when state = 'pending' then 'cancelled' else state end
     where id = $1 and state in ('pending', 'processing')`,
    [id],
  );
  return changed === 1;
}

function orNull(row: ExportRow | null): ExportJob | null {
  return row === null ? null : toExport(row);
}

function toExport(row: ExportRow): HeldExport {
  const reason = row.errorReason as Reason | null;
  const [message, fix] = [row.errorMessage ?? '', row.errorFix ?? ''];
  return {
    id: row.id,
    kind: row.kind,
    format: row.format,
    compression: row.compression,
    filter: row.filter,
    fileName: row.fileName,
    state: row.state,
    progress: row.progress,
    manifestId: row.manifestId,
    artifactId: row.artifactId,
    error: reason === null ? null : { reason, message, fix, retryable: REASONS[reason].retryable, at: row.completedAt },
    requester: row.requester,
    requestId: row.requestId,
    sandbox: row.sandbox,
    createdAt: toDate(row.createdAt),
    startedAt: row.startedAt,
    completedAt: row.completedAt,
    sequence: row.sequence,
    attempt: row.attempt,
  };
}
