// The evidence log as rows: leaves in the order of commits, complete subtrees, signed checkpoints. Nothing of it is ever changed.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { LogCheckpoint } from '../core/evidence.ts';
import { leafBytes, type LeafKind, type LogLeaf } from '../core/log-leaf.ts';
import { edgeNodes, leafHash, type Hash, type NodeId } from '../core/merkle.ts';
import { sql, toDate } from './database.ts';
import type { EvidenceStore, LogState, PendingLeaf, Seal } from './evidence.ts';

type LogRows = Pick<
  EvidenceStore,
  | 'append'
  | 'openLog'
  | 'claimLog'
  | 'saveCountedThrough'
  | 'pendingLeaves'
  | 'edge'
  | 'seal'
  | 'findCheckpoint'
  | 'readNodes'
  | 'placesOf'
  | 'readLeaves'
  | 'leavesOfKind'
>;

export const logRows: LogRows = {
  async append(em: EntityManager, leaf: LogLeaf) {
    const manifestId = leaf.kind === 'manifest' ? leaf.manifestId : null;
    await sql(em, `insert into trueup.evidence_leaves (kind, manifest_id, body) values ($1, $2, $3)`, [
      leaf.kind,
      manifestId,
      leafBytes(leaf),
    ]);
  },

  async openLog(em, origin) {
    await sql(
      em,
      `insert into trueup.evidence_log (origin, counted_through)
       values ($1, date_trunc('day', now(), 'UTC')) on conflict (id) do nothing`,
      [origin],
    );
  },

  async claimLog(em, how): Promise<LogState | null> {
    const [row] = await sql<{ origin: string; counted_through: string; now: string }>(
      em,
      `select origin, counted_through, clock_timestamp() as now from trueup.evidence_log
       for update ${how === 'try' ? 'skip locked' : ''}`,
    );
    if (row === undefined) return null;
    return { origin: row.origin, countedThrough: toDate(row.counted_through), now: toDate(row.now) };
  },

  async saveCountedThrough(em, through) {
    await sql(em, `update trueup.evidence_log set counted_through = $1`, [through.toISOString()]);
  },

  async pendingLeaves(em, limit): Promise<PendingLeaf[]> {
    return await sql<{ id: string; body: Buffer }>(
      em,
      `select id, body from trueup.evidence_leaves where log_index is null order by id limit $1`,
      [limit],
    );
  },

  async edge(em) {
    const size = (await logRows.findCheckpoint(em, null))?.size ?? 0;
    return { size, hashes: await logRows.readNodes(em, edgeNodes(size)) };
  },

  async seal(em: EntityManager, { leaves, sizeBefore, nodes, checkpoint }: Seal) {
    await sql(
      em,
      `update trueup.evidence_leaves leaf set log_index = $1 + place - 1
       from unnest($2::bigint[]) with ordinality as sealed (id, place) where leaf.id = sealed.id`,
      [sizeBefore, leaves.map((leaf) => leaf.id)],
    );
    await sql(
      em,
      `insert into trueup.evidence_nodes (level, index, hash)
       select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])`,
      [nodes.map(({ level }) => level), nodes.map(({ index }) => index), nodes.map(({ hash }) => hash)],
    );
    const { size, root, note, keyId, signedAt } = checkpoint;
    await sql(
      em,
      `insert into trueup.evidence_checkpoints (tree_size, root, note, key_id, signed_at) values ($1, $2, $3, $4, $5)`,
      [size, root, note, keyId, signedAt.toISOString()],
    );
  },

  async findCheckpoint(em, size): Promise<LogCheckpoint | null> {
    const [row] = await sql<
      Record<'origin' | 'tree_size' | 'key_id' | 'signed_at', string> & { root: Buffer; note: Buffer }
    >(
      em,
      `select c.*, l.origin from trueup.evidence_checkpoints c, trueup.evidence_log l
       where $1::bigint is null or c.tree_size = $1 order by c.tree_size desc limit 1`,
      [size],
    );
    if (row === undefined) return null;
    const { origin, root, note } = row;
    return { origin, root, note, size: Number(row.tree_size), keyId: row.key_id, signedAt: toDate(row.signed_at) };
  },

  async readNodes(em, nodes: readonly NodeId[]): Promise<Hash[]> {
    const rows = await sql<{ hash: Buffer | null; body: Buffer | null }>(
      em,
      `select node.hash, leaf.body from unnest($1::smallint[], $2::bigint[]) with ordinality as asked (level, index, place)
       left join trueup.evidence_nodes node on node.level = asked.level and node.index = asked.index
       left join trueup.evidence_leaves leaf on asked.level = 0 and leaf.log_index = asked.index
       order by asked.place`,
      [nodes.map(({ level }) => level), nodes.map(({ index }) => index)],
    );
    return rows.map(({ hash, body }) => {
      if (hash !== null) return hash;
      if (body !== null) return leafHash(body);
      throw new TrueUpError('LOG_INCONSISTENT', 'a part of the evidence log is missing from the database', {
        fix: 'restore the database from a backup; evidence handed out before stays valid',
      });
    });
  },

  async placesOf(em, manifestIds) {
    const rows = await sql<{ manifest_id: string; log_index: string; body: Buffer }>(
      em,
      `select manifest_id, log_index, body from trueup.evidence_leaves
       where kind = 'manifest' and manifest_id = any($1::uuid[]) and log_index is not null`,
      [manifestIds],
    );
    return new Map(rows.map((row) => [row.manifest_id, { index: Number(row.log_index), leaf: leafHash(row.body) }]));
  },

  async readLeaves(em, from, to): Promise<Buffer[]> {
    const rows = await sql<{ body: Buffer }>(
      em,
      `select body from trueup.evidence_leaves where log_index >= $1 and log_index < $2 order by log_index`,
      [from, to],
    );
    return rows.map(({ body }) => body);
  },

  async leavesOfKind(em, kind: LeafKind): Promise<Buffer[]> {
    const rows = await sql<{ body: Buffer }>(
      em,
      `select body from trueup.evidence_leaves where kind = $1 order by id`,
      [kind],
    );
    return rows.map(({ body }) => body);
  },
};
