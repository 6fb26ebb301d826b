// Exports with their evidence over a test database and a real folder, composed as the service composes them.
import { readSigningKey } from '../../src/core/signing-key.ts';
import { composeExports } from '../../src/exporting.ts';
import { createFileArtifacts } from '../../src/outbound/artifacts.ts';
import { createEvidence } from '../../src/services/evidence.ts';
import type { Database } from '../../src/store/database.ts';
import { ringOf } from '../_util/evidence-samples.ts';
import { NO_BOOKS } from '../_util/exports.ts';
import { quietEvents, testCaller } from '../_util/services.ts';

/** Small, so that an artifact has several. */
const PART_BYTES = 16 * 1024;

export interface ExportingOptions {
  readonly db: Database;
  readonly folder: string;
  readonly networkPassphrase: string;
  readonly keyPem: string;
}

export async function openExporting({ db, folder, networkPassphrase, keyPem }: ExportingOptions) {
  const signingKey = readSigningKey(keyPem);
  const artifacts = createFileArtifacts(folder, PART_BYTES);
  const { events } = quietEvents();
  const evidence = createEvidence({
    ...{ db, storage: 'database', artifacts, signingKey, keys: ringOf(signingKey) },
    ...{ serviceName: 'test', keepCount: 500, keepDays: null, events },
  });
  await evidence.log.open();
  const exports = composeExports({
    ...{ db, artifacts, evidence, networkPassphrase, sandbox: false, events, books: NO_BOOKS },
    queue: { send: () => Promise.resolve('job') },
  });
  const work = (id: string) => exports.run({ id }, { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(60_000) });
  return {
    evidence,
    artifacts,
    exports,
    work,
    start: async (): Promise<string> => {
      const order = { kind: 'entries', format: 'csv', compression: 'none', filter: {}, fileName: null } as const;
      return (await exports.service.start({ ...order, requestId: null }, testCaller)).id;
    },
  };
}
