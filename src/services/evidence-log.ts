// The evidence log: what happens to evidence becomes a leaf in the transaction in which it happens; sealing puts leaves into the tree.
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { recordOf } from '../core/evidence.ts';
import { type KeyRing, type RingKey } from '../core/key-ring.ts';
import { signTreeHead } from '../core/log-checkpoint.ts';
import { manifestLeaf, readLeaf, type LogLeaf } from '../core/log-leaf.ts';
import { type Manifest, type ManifestContent, manifestDigest, signManifest } from '../core/manifest.ts';
import { appendLeaves, leafHash, rootOf } from '../core/merkle.ts';
import type { SigningKey } from '../core/signing-key.ts';
import type { Database } from '../store/database.ts';
import type { EvidenceStore, LogState } from '../store/evidence.ts';

export const SEAL_LIMITS = {
  /** Leaves of one checkpoint; what is left goes into the next at once. */
  maxLeaves: 1_000,
  /** Days that are counted at once after a long sleep. */
  maxDays: 366,
} as const;

const DAY_MS = 86_400_000;
const ORIGIN_ID_CHARS = 8;

export interface EvidenceLogDeps {
  readonly db: Database;
  readonly store: EvidenceStore;
  /** Null: this deployment has no key, and signs nothing. */
  readonly signingKey: SigningKey | null;
  readonly keys: KeyRing;
  /** The deployment's name; the log's begins with it. */
  readonly serviceName: string;
  readonly events: { logSealed(event: { readonly leaves: number; readonly treeSize: number }): void };
}

/** What an export knows of itself when its bytes are written. */
export interface ManifestDraft {
  readonly exportId: string;
  readonly artifactId: string;
  /** The token's name. */
  readonly requester: string;
  readonly fileName: string;
  readonly content: ManifestContent;
}

export type EvidenceLog = ReturnType<typeof createEvidenceLog>;

export function createEvidenceLog(deps: EvidenceLogDeps) {
  const { db, store } = deps;
  let sealing: Promise<void> = Promise.resolve();

  /** @throws TrueUpError SIGNING_KEY_UNAVAILABLE; ask before the work, not after it */
  function requireSigningKey(): SigningKey {
    if (deps.signingKey !== null) return deps.signingKey;
    throw new TrueUpError(
      'SIGNING_KEY_UNAVAILABLE',
      'this deployment has no signing key, and makes no unsigned evidence',
      {
        fix: 'make one with `openssl genpkey -algorithm ed25519 -out signing-key.pem`, set TRUEUP_SIGNING_KEY_FILE to it, and restart',
      },
    );
  }

  return {
    requireSigningKey,

    /**
     * Signs and logs a manifest in the caller's transaction: it exists if and only if that commits.
     *
     * @returns the manifest's id
     */
    async recordManifest(em: EntityManager, draft: ManifestDraft): Promise<string> {
      const key = requireSigningKey();
      const manifest: Manifest = {
        ...draft,
        manifestId: randomUUID(),
        generatedAt: new Date().toISOString(),
        contentSha256: manifestDigest(draft.content),
      };
      const envelope = signManifest(manifest, key);
      await store.insertManifest(em, recordOf(manifest, envelope));
      await store.append(em, manifestLeaf(manifest.manifestId, envelope));
      return manifest.manifestId;
    },

    /** At start: begins the log where there is none, and logs keys that it hasn't heard of. */
    async open(): Promise<void> {
      if (deps.signingKey === null) return;
      const key = deps.signingKey;
      await db.em().transactional(async (em) => {
        await store.openLog(em, `trueup/${deps.serviceName}/${randomUUID().slice(0, ORIGIN_ID_CHARS)}`);
        const log = await store.claimLog(em, 'wait');
        if (log === null) return;
        const known = (await store.leavesOfKind(em, 'key')).map(readLeaf);
        for (const leaf of newKeyEvents(known, key, deps.keys, log.now)) await store.append(em, leaf);
      });
    },

    /** Puts all that is pending into the tree and signs checkpoints; nothing happens where another replica is at it. */
    seal(): Promise<void> {
      const run = async (): Promise<void> => {
        while (await sealOnce(deps));
      };
      sealing = sealing.then(run, run);
      return sealing;
    },
  };
}

/** One transaction: killed at any moment, it leaves the old checkpoint or the new one. @returns whether more may be pending */
async function sealOnce({ db, store, signingKey, events }: EvidenceLogDeps): Promise<boolean> {
  if (signingKey === null) return false;
  return await db.em().transactional(async (em) => {
    const log = await store.claimLog(em, 'try');
    if (log === null) return false;
    await countDays(em, store, log);
    const leaves = await store.pendingLeaves(em, SEAL_LIMITS.maxLeaves);
    if (leaves.length === 0) return false;
    const before = await store.edge(em);
    const { edge, completed } = appendLeaves(
      before,
      leaves.map(({ body }) => leafHash(body)),
    );
    const head = { origin: log.origin, size: edge.size, root: rootOf(edge) };
    const note = Buffer.from(signTreeHead(head, signingKey));
    const checkpoint = { ...head, note, keyId: signingKey.keyId, signedAt: log.now };
    await store.seal(em, { leaves, sizeBefore: before.size, nodes: completed, checkpoint });
    events.logSealed({ leaves: leaves.length, treeSize: edge.size });
    return leaves.length === SEAL_LIMITS.maxLeaves;
  });
}

/** A leaf for each day (UTC) that is over, with its number of manifests, also where that is none. */
async function countDays(em: EntityManager, store: EvidenceStore, { countedThrough, now }: LogState): Promise<void> {
  let from = countedThrough;
  for (let days = 0; days < SEAL_LIMITS.maxDays; days++) {
    const to = new Date(from.getTime() + DAY_MS);
    if (to > now) break;
    const manifests = await store.countManifests(em, from, to);
    await store.append(em, { kind: 'period', from: from.toISOString(), to: to.toISOString(), manifests });
    from = to;
  }
  if (from !== countedThrough) await store.saveCountedThrough(em, from);
}

function newKeyEvents(
  known: readonly (LogLeaf | undefined)[],
  signing: SigningKey,
  ring: KeyRing,
  now: Date,
): LogLeaf[] {
  const events = known.flatMap((leaf) => (leaf?.kind === 'key' ? [leaf] : []));
  const at = now.toISOString();
  const leafOf = (
    event: 'active' | 'retired' | 'revoked',
    { keyId, pem }: Pick<RingKey, 'keyId' | 'pem'>,
  ): LogLeaf => ({
    ...{ kind: 'key', event, keyId, publicKeyPem: pem, at },
  });
  const isNew = (event: string, keyId: string): boolean =>
    !events.some((each) => each.event === event && each.keyId === keyId);
  const others = Array.from(ring.values()).filter((key) => key.keyId !== signing.keyId);
  return [
    ...others.filter((key) => key.revokedAt && isNew('revoked', key.keyId)).map((key) => leafOf('revoked', key)),
    ...others.filter((key) => key.notAfter && isNew('retired', key.keyId)).map((key) => leafOf('retired', key)),
    ...(events.findLast((each) => each.event === 'active')?.keyId === signing.keyId ? [] : [leafOf('active', signing)]),
  ];
}
