// Evidence over a test database or in memory, as the composition root builds it; the artifacts' bytes are in memory, where a test can bend them.
import type { ArtifactStore } from '../../src/core/artifact.ts';
import { createEvidence, type EvidenceOptions } from '../../src/services/evidence.ts';
import type { Database } from '../../src/store/database.ts';
import { contentOf, newKey, ringOf } from './evidence-samples.ts';
import { quietEvents } from './services.ts';

export type EvidenceHouse = Awaited<ReturnType<typeof openEvidenceHouse>>;

/** Artifacts of one part each. Files would be synced to the disk a thousand times; they have tests of their own. */
export function memoryArtifacts(): ArtifactStore & { readonly kept: Map<string, Buffer> } {
  const kept = new Map<string, Buffer>();
  return {
    kept,
    async open(id) {
      const bytes = kept.get(id);
      if (bytes === undefined) return null;
      return {
        sizeBytes: bytes.length,
        async *read(offset) {
          yield bytes.subarray(offset);
        },
        async [Symbol.asyncDispose]() {},
      };
    },
    async remove(id) {
      kept.delete(id);
    },
  };
}

export async function openEvidenceHouse(
  db: Database,
  options: Partial<Omit<EvidenceOptions, 'artifacts'>> & { artifacts?: ReturnType<typeof memoryArtifacts> } = {},
) {
  const artifacts = options.artifacts ?? memoryArtifacts();
  const signingKey = options.signingKey === undefined ? newKey() : options.signingKey;
  const evidence = createEvidence({
    ...{ db, signingKey, storage: 'database', serviceName: 'test', keepCount: 500, keepDays: null },
    keys: signingKey === null ? new Map() : ringOf(signingKey),
    events: quietEvents().events,
    ...options,
    artifacts,
  });
  await evidence.log.open();
  let exported = 0;
  return {
    ...evidence,
    artifacts,
    key: signingKey,
    /** What an export does at its end. @returns the manifest's id */
    async export(text = `row ${exported}\n`, requester = 'ann'): Promise<string> {
      const number = ++exported;
      const artifactId = `artifact-${number}-${Math.random().toString(36).slice(2)}`;
      const bytes = Buffer.from(text);
      artifacts.kept.set(artifactId, bytes);
      return await db.em().transactional((em) =>
        evidence.log.recordManifest(em, {
          ...{ exportId: `export-${number}`, artifactId, requester, fileName: 'entries.csv' },
          content: contentOf([bytes]),
        }),
      );
    },
  };
}
