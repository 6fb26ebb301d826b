// Manifests and holds as rows.
import type { FilterQuery } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { Hold, ManifestFilter, ManifestRecord } from '../core/evidence.ts';
import { isUuid } from '../core/ids.ts';
import type { PruneCause } from '../core/log-leaf.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import { sql, sqlCount } from './database.ts';
import { HoldEntity, ManifestEntity, type HoldRow, type ManifestRow } from './entities.ts';
import type { EvidenceStore, HoldRelease, HoldToPlace, RequestedHold, RetentionRule } from './evidence.ts';
import { given } from './filters.ts';

type ManifestRows = Pick<
  EvidenceStore,
  | 'insertManifest'
  | 'findManifest'
  | 'findArtifact'
  | 'listManifests'
  | 'countManifests'
  | 'placeHold'
  | 'releaseHold'
  | 'findHold'
  | 'findHoldByRequest'
  | 'holdsOf'
  | 'prune'
  | 'toRemove'
  | 'markRemoved'
>;

export const manifestRows: ManifestRows = {
  async insertManifest(em: EntityManager, record: ManifestRecord) {
    await em.insert(ManifestEntity, { ...record });
  },

  async findManifest(em, id) {
    const row = isUuid(id) ? await em.findOne(ManifestEntity, { id }) : null;
    return row === null ? null : toRecord(row);
  },

  async findArtifact(em, artifactId) {
    const row = await em.findOne(ManifestEntity, { artifactId });
    return row === null ? null : toRecord(row);
  },

  async listManifests(em: EntityManager, filter: ManifestFilter, page: PageRequest): Promise<Page<ManifestRecord>> {
    const { kinds, requester, checksum, from, to, held, includePruned } = filter;
    const where: FilterQuery<ManifestRow>[] = [given({ kind: kinds?.slice(), requester, checksum })];
    if (from !== undefined) where.push({ generatedAt: { $gte: from } });
    if (to !== undefined) where.push({ generatedAt: { $lt: to } });
    if (held !== undefined) where.push({ holdCount: held ? { $gt: 0 } : 0 });
    if (includePruned !== true) where.push({ prunedAt: null });
    const after = page.after === null ? [] : [olderThan(page.after)];
    const rows = await em.find(
      ManifestEntity,
      { $and: [...where, ...after] },
      { orderBy: { generatedAt: 'desc', id: 'desc' }, limit: page.size + 1 },
    );
    const totalSize = await em.count(ManifestEntity, { $and: where });
    return { ...pageOf(rows, page.size, positionOf, toRecord), totalSize };
  },

  countManifests: (em, from, to) => em.count(ManifestEntity, { generatedAt: { $gte: from, $lt: to } }),

  async placeHold(em: EntityManager, { id, manifestId, reason, placedBy, requestId }: HoldToPlace) {
    if (!isUuid(manifestId)) return false;
    // The manifest's own row is changed, so that retention, which changes it too, sees the hold or comes first.
    const held = await sqlCount(
      em,
      `update trueup.manifests set hold_count = hold_count + 1 where id = $1 and pruned_at is null`,
      [manifestId],
    );
    if (held === 0) return false;
    await em.insert(HoldEntity, { id, manifestId, reason, placedBy, requestId });
    return true;
  },

  async releaseHold(em: EntityManager, id: string, { releasedBy, releaseReason, requestId }: HoldRelease) {
    if (!isUuid(id)) return false;
    const rows = await sql<{ manifest_id: string }>(
      em,
      `update trueup.manifest_holds set released_at = now(), released_by = $2, release_reason = $3, release_request_id = $4
       where id = $1 and released_at is null returning manifest_id`,
      [id, releasedBy, releaseReason, requestId],
    );
    if (rows[0] === undefined) return false;
    await sql(em, `update trueup.manifests set hold_count = hold_count - 1 where id = $1`, [rows[0].manifest_id]);
    return true;
  },

  async findHold(em, id) {
    const row = isUuid(id) ? await em.findOne(HoldEntity, { id }) : null;
    return row === null ? null : toHold(row);
  },

  async findHoldByRequest(em, requestId) {
    const row = await em.findOne(HoldEntity, { $or: [{ requestId }, { releaseRequestId: requestId }] });
    return row === null ? null : toHold(row);
  },

  async holdsOf(em, manifestIds): Promise<Hold[]> {
    if (manifestIds.length === 0) return [];
    const rows = await em.find(
      HoldEntity,
      { manifestId: manifestIds.slice(), releasedAt: null },
      { orderBy: { createdAt: 'asc', id: 'asc' } },
    );
    return rows.map(toHold);
  },

  async prune(em: EntityManager, { keepCount, before }: RetentionRule, limit: number) {
    // The oldest that the count keeps is found by its place; a hold that is placed meanwhile makes the update look again.
    const rows = await sql<{ cause: PruneCause }>(
      em,
      `with last_kept as (
         select generated_at, id from trueup.manifests where pruned_at is null
         order by generated_at desc, id desc offset $1 - 1 limit 1),
       chosen as (
         select m.id, case when m.generated_at < $2 then 'age' else 'count' end as cause from trueup.manifests m
         where m.pruned_at is null and m.hold_count = 0
           and (m.generated_at < $2 or (m.generated_at, m.id) < (select generated_at, id from last_kept))
         order by m.generated_at, m.id limit $3 for update skip locked)
       update trueup.manifests m set pruned_at = now() from chosen
       where m.id = chosen.id and m.pruned_at is null and m.hold_count = 0
       returning m.*, chosen.cause`,
      [keepCount, before?.toISOString() ?? '-infinity', limit],
    );
    return rows.map(({ cause, ...row }) => ({ ...toRecord(em.map(ManifestEntity, row)), cause }));
  },

  async toRemove(em, limit) {
    const rows = await sql<{ id: string; artifact_id: string }>(
      em,
      `select id, artifact_id from trueup.manifests where pruned_at is not null and artifact_removed_at is null
       order by pruned_at limit $1`,
      [limit],
    );
    return rows.map((row) => ({ id: row.id, artifactId: row.artifact_id }));
  },

  async markRemoved(em, ids) {
    await sql(em, `update trueup.manifests set artifact_removed_at = now() where id = any($1::uuid[])`, [ids]);
  },
};

export function positionOf({ generatedAt, id }: Pick<ManifestRecord, 'generatedAt' | 'id'>): PagePosition {
  return { generatedAt: generatedAt.toISOString(), id };
}

/** The place in the list that a page token names. @throws TrueUpError INVALID_PAGE_TOKEN */
export function readManifestPosition({ generatedAt, id }: PagePosition): { generatedAt: Date; id: string } {
  const at = new Date(typeof generatedAt === 'string' ? generatedAt : Number.NaN);
  if (typeof id !== 'string' || !isUuid(id) || Number.isNaN(at.getTime()))
    throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
  return { generatedAt: at, id };
}

function olderThan(position: PagePosition): FilterQuery<ManifestRow> {
  const { generatedAt, id } = readManifestPosition(position);
  return {
    generatedAt: { $lte: generatedAt },
    $or: [{ generatedAt: { $lt: generatedAt } }, { id: { $lt: id } }],
  };
}

function toRecord({ holdCount, envelope, ...row }: ManifestRow): ManifestRecord {
  return { ...row, envelope: Buffer.from(envelope) };
}

function toHold(row: HoldRow): RequestedHold {
  return { ...row };
}
