// Evidence as one part of the house: the log, manifests, holds and retention over one store.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ArtifactStore } from '../core/artifact.ts';
import { inUse, type KeyRing } from '../core/key-ring.ts';
import type { SigningKey } from '../core/signing-key.ts';
import type { Database } from '../store/database.ts';
import { DATABASE_EVIDENCE } from '../store/evidence-database.ts';
import { createMemoryEvidence } from '../store/evidence-memory.ts';
import { createArtifactDownload } from './artifact-download.ts';
import { createEvidenceLog, type EvidenceLogDeps } from './evidence-log.ts';
import { createManifestHolds } from './manifest-holds.ts';
import { pruneArtifacts, type RetentionDeps } from './manifest-retention.ts';
import { createManifests } from './manifests.ts';

export interface EvidenceOptions {
  readonly db: Database;
  readonly storage: 'database' | 'memory';
  readonly artifacts: ArtifactStore;
  /** Null: nothing is signed, so nothing is exported. */
  readonly signingKey: SigningKey | null;
  /** Keys that are believed beside it. */
  readonly keys: KeyRing;
  readonly serviceName: string;
  readonly keepCount: number;
  readonly keepDays: number | null;
  readonly events: EvidenceLogDeps['events'] & RetentionDeps['events'];
}

export type Evidence = ReturnType<typeof createEvidence>;

export function createEvidence(options: EvidenceOptions) {
  const { signingKey } = options;
  const store = options.storage === 'memory' ? createMemoryEvidence() : DATABASE_EVIDENCE;
  const own = signingKey === null || options.keys.has(signingKey.keyId) ? [] : [inUse(signingKey)];
  const keys: KeyRing = new Map([...own.map((key) => [key.keyId, key] as const), ...options.keys]);
  const deps = { ...options, store, keys };
  const log = createEvidenceLog(deps);
  return {
    log,
    manifests: createManifests(deps),
    holds: createManifestHolds(deps),
    download: createArtifactDownload(deps),
    isKept: async (em: EntityManager, artifactId: string): Promise<boolean> =>
      (await store.findArtifact(em, artifactId)) !== null,
    /** What the clock does: old artifacts go, and everything that happened is sealed. */
    async tend(): Promise<void> {
      await pruneArtifacts(deps);
      await log.seal();
    },
  };
}
