// Evidence over a test database or in memory, with artifacts in a folder of its own, as the composition root builds it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFileArtifacts } from '../../src/outbound/artifacts.ts';
import { createEvidence, type EvidenceOptions } from '../../src/services/evidence.ts';
import type { Database } from '../../src/store/database.ts';
import { contentOf, newKey, ringOf } from './evidence-samples.ts';
import { quietEvents } from './services.ts';

export type EvidenceHouse = Awaited<ReturnType<typeof openEvidenceHouse>>;

export async function openEvidenceHouse(db: Database, options: Partial<EvidenceOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'trueup-evidence-'));
  const artifacts = options.artifacts ?? createFileArtifacts(folder);
  const signingKey = options.signingKey === undefined ? newKey() : options.signingKey;
  const evidence = createEvidence({
    ...{ db, artifacts, signingKey, storage: 'database', serviceName: 'test', keepCount: 500, keepDays: null },
    keys: signingKey === null ? new Map() : ringOf(signingKey),
    events: quietEvents().events,
    ...options,
  });
  await evidence.log.open();
  let exported = 0;
  return {
    ...evidence,
    artifacts,
    folder,
    key: signingKey,
    /** What an export does at its end. @returns the manifest's id */
    async export(text = `row ${exported}\n`, requester = 'ann'): Promise<string> {
      const number = ++exported;
      const artifactId = `artifact-${number}-${Math.random().toString(36).slice(2)}`;
      const bytes = Buffer.from(text);
      await artifacts.write(artifactId, 'entries.csv', [bytes] as never);
      return await db.em().transactional((em) =>
        evidence.log.recordManifest(em, {
          ...{ exportId: `export-${number}`, artifactId, requester, fileName: 'entries.csv' },
          content: contentOf([bytes]),
        }),
      );
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
