// Evidence in memory only: nothing of it outlives the process. For deployments that want no record kept, and say so.
import { TrueUpError } from '../core/errors.ts';
import type { LogCheckpoint, ManifestFilter, ManifestRecord } from '../core/evidence.ts';
import { leafBytes, readLeaf } from '../core/log-leaf.ts';
import { edgeNodes, leafHash, type Hash, type NodeId } from '../core/merkle.ts';
import { pageOf } from '../core/page.ts';
import { afterCommit } from './after-commit.ts';
import type { EvidenceStore, PendingLeaf, RequestedHold } from './evidence.ts';
import { positionOf, readManifestPosition } from './manifests.ts';

interface Kept extends ManifestRecord {
  readonly removed: boolean;
}

const DAY_MS = 86_400_000;

export function createMemoryEvidence(): EvidenceStore {
  const manifests = new Map<string, Kept>();
  const holds = new Map<string, RequestedHold>();
  const pending: PendingLeaf[] = [];
  const leaves: Buffer[] = [];
  const nodes = new Map<string, Hash>();
  const checkpoints = new Map<number, LogCheckpoint>();
  let log: { origin: string; countedThrough: Date } | null = null;
  let latest: LogCheckpoint | null = null;
  let nextLeaf = 1;

  const isHeld = (id: string): boolean =>
    Array.from(holds.values()).some((hold) => hold.manifestId === id && hold.releasedAt === null);
  const newestFirst = (filter: ManifestFilter): Kept[] =>
    Array.from(manifests.values())
      .filter((each) => isSelected(each, filter, isHeld))
      .sort((a, b) => b.generatedAt.getTime() - a.generatedAt.getTime() || (a.id < b.id ? 1 : -1));
  const hashOf = ({ level, index }: NodeId): Hash => {
    const leaf = level === 0 ? leaves[index] : undefined;
    const hash = leaf === undefined ? nodes.get(`${level}/${index}`) : leafHash(leaf);
    if (hash !== undefined) return hash;
    throw new TrueUpError('LOG_INCONSISTENT', 'a part of the evidence log is missing from memory');
  };
  const change = (id: string, changes: Partial<Kept>): void => {
    manifests.set(id, { ...manifests.get(id)!, ...changes });
  };
  const store: Omit<EvidenceStore, 'kind'> = {
    insertManifest: async (em, record) =>
      afterCommit(em, () => manifests.set(record.id, { ...record, removed: false })),
    findManifest: async (_em, id) => manifests.get(id) ?? null,
    findArtifact: async (_em, id) => [...manifests.values()].find(({ artifactId }) => artifactId === id) ?? null,
    async listManifests(_em, filter, page) {
      const all = newestFirst(filter);
      const after = page.after === null ? null : readManifestPosition(page.after);
      const rest = after === null ? all : all.filter((each) => isAfter(each, after));
      return { ...pageOf(rest.slice(0, page.size + 1), page.size, positionOf), totalSize: all.length };
    },
    countManifests: async (_em, from, to) => newestFirst({ from, to, includePruned: true }).length,

    async placeHold(_em, { requestId, ...hold }) {
      const manifest = manifests.get(hold.manifestId);
      if (manifest === undefined || manifest.prunedAt !== null) return false;
      const released = { releasedAt: null, releasedBy: null, releaseReason: null, releaseRequestId: null };
      const placed: RequestedHold = { ...hold, requestId, createdAt: new Date(), ...released };
      // Before the commit, for retention to see it; a hold too many does no harm.
      holds.set(hold.id, placed);
      return true;
    },
    async releaseHold(em, id, { requestId, ...release }) {
      const hold = holds.get(id);
      if (hold === undefined || hold.releasedAt !== null) return false;
      const released = { ...hold, ...release, releasedAt: new Date(), releaseRequestId: requestId };
      afterCommit(em, () => holds.set(id, released));
      return true;
    },
    findHold: async (_em, id) => holds.get(id) ?? null,
    findHoldByRequest: async (_em, requestId) =>
      Array.from(holds.values()).find((hold) => [hold.requestId, hold.releaseRequestId].includes(requestId)) ?? null,
    holdsOf: async (_em, ids) =>
      Array.from(holds.values()).filter((hold) => hold.releasedAt === null && ids.includes(hold.manifestId)),

    async prune(_em, { keepCount, before }, limit) {
      const kept = newestFirst({});
      const tooOld = (each: Kept): boolean => before !== null && each.generatedAt < before;
      const chosen = kept.filter((each, place) => !isHeld(each.id) && (place >= keepCount || tooOld(each)));
      return chosen
        .reverse()
        .slice(0, limit)
        .map((each) => {
          change(each.id, { prunedAt: new Date() });
          return { ...manifests.get(each.id)!, cause: tooOld(each) ? ('age' as const) : ('count' as const) };
        });
    },
    toRemove: async (_em, limit) =>
      Array.from(manifests.values())
        .filter((each) => each.prunedAt !== null && !each.removed)
        .slice(0, limit),
    async markRemoved(_em, ids) {
      for (const id of ids) change(id, { removed: true });
    },

    append: async (em, leaf) => afterCommit(em, () => pending.push({ id: String(nextLeaf++), body: leafBytes(leaf) })),
    async openLog(_em, origin) {
      log ??= { origin, countedThrough: new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS) };
    },
    // One process seals one after another, so there is nobody to keep out.
    claimLog: async () => (log === null ? null : { ...log, now: new Date() }),
    async saveCountedThrough(_em, through) {
      log = { ...log!, countedThrough: through };
    },
    pendingLeaves: async (_em, limit) => pending.slice(0, limit),
    async edge() {
      const size = latest?.size ?? 0;
      return { size, hashes: edgeNodes(size).map(hashOf) };
    },
    async seal(_em, seal) {
      leaves.push(...seal.leaves.map((leaf) => leaf.body));
      pending.splice(0, seal.leaves.length);
      for (const { level, index, hash } of seal.nodes) nodes.set(`${level}/${index}`, hash);
      latest = { ...seal.checkpoint, origin: log!.origin };
      checkpoints.set(latest.size, latest);
    },
    findCheckpoint: async (_em, size) => (size === null ? latest : (checkpoints.get(size) ?? null)),
    readNodes: async (_em, asked) => asked.map(hashOf),
    async placesOf(_em, ids) {
      const wanted = new Set(ids);
      const places = new Map<string, { index: number; leaf: Hash }>();
      leaves.forEach((body, index) => {
        const leaf = readLeaf(body);
        if (leaf?.kind === 'manifest' && wanted.has(leaf.manifestId))
          places.set(leaf.manifestId, { index, leaf: leafHash(body) });
      });
      return places;
    },
    readLeaves: async (_em, from, to) => leaves.slice(from, to),
    leavesOfKind: async (_em, kind) =>
      [...leaves, ...pending.map(({ body }) => body)].filter((body) => readLeaf(body)?.kind === kind),
  };
  return { kind: 'memory', ...store };
}

function isSelected(each: ManifestRecord, filter: ManifestFilter, isHeld: (id: string) => boolean): boolean {
  const { kinds, requester, checksum, from, to, held, includePruned } = filter;
  return (
    (kinds === undefined || kinds.length === 0 || kinds.includes(each.kind)) &&
    (requester === undefined || each.requester === requester) &&
    (checksum === undefined || each.checksum === checksum) &&
    (from === undefined || each.generatedAt >= from) &&
    (to === undefined || each.generatedAt < to) &&
    (held === undefined || isHeld(each.id) === held) &&
    (includePruned === true || each.prunedAt === null)
  );
}

function isAfter(each: ManifestRecord, position: { generatedAt: Date; id: string }): boolean {
  const [at, end] = [each.generatedAt.getTime(), position.generatedAt.getTime()];
  return at < end || (at === end && each.id < position.id);
}
