// Exports over a test database: the service, its job as the queue would run it, and a folder for the artifacts.
import { readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ExportJob, ExportOrder } from '../../src/core/export.ts';
import { createFileArtifacts } from '../../src/outbound/artifacts.ts';
import type { ManifestDraft } from '../../src/services/evidence-log.ts';
import { createExportsService } from '../../src/services/exports.ts';
import { runExport, type RunExportDeps } from '../../src/services/run-export.ts';
import type { StatementBookDeps } from '../../src/services/statement-book.ts';
import type { Database } from '../../src/store/database.ts';
import { quietEvents, testCaller } from './services.ts';

export const NO_BOOKS: StatementBookDeps = {
  policies: new Map(),
  bookOf: ({ name }) => {
    throw new Error(`policy ${name} has no book elsewhere`);
  },
  spillFolder: tmpdir(),
};

export interface ExportHouseOptions {
  readonly db: Database;
  readonly folder: string;
  readonly networkPassphrase: string;
  /** Bytes of a part. */
  readonly partBytes?: number;
  /** Absent: no policy has a book elsewhere. */
  readonly books?: StatementBookDeps;
  readonly recordManifest?: (em: EntityManager, draft: ManifestDraft) => Promise<string>;
}

export function openExportHouse(options: ExportHouseOptions) {
  const { db, folder } = options;
  const drafts: ManifestDraft[] = [];
  const service = createExportsService({
    db,
    queue: { send: () => Promise.resolve('job') },
    sandbox: false,
    requireSigning: () => undefined,
  });
  const deps: RunExportDeps = {
    db,
    networkPassphrase: options.networkPassphrase,
    artifacts: createFileArtifacts(folder, options.partBytes),
    recordManifest:
      options.recordManifest ??
      ((_em, draft) => {
        drafts.push(draft);
        return Promise.resolve(`manifest of ${draft.exportId}`);
      }),
    generator: { name: 'trueup', version: 'test' },
    events: quietEvents().events,
    books: options.books ?? NO_BOOKS,
  };
  const start = (order: Partial<ExportOrder> & Pick<ExportOrder, 'kind'>): Promise<ExportJob> =>
    service.start(
      { format: 'csv', compression: 'none', filter: {}, fileName: null, requestId: null, ...order },
      testCaller,
    );
  const work = (id: string, attempt = { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(60_000) }) =>
    runExport(deps, id, attempt);
  /** The bytes that are stored, part after part. */
  const bytesOf = (id: string): Buffer =>
    Buffer.concat(
      readdirSync(join(folder, id))
        .sort()
        .map((name) => readFileSync(join(folder, id, name))),
    );
  return {
    service,
    deps,
    drafts,
    start,
    work,
    bytesOf,
    /** What is in the folder, drafts too. */
    files: () => readdirSync(folder),
    async exported(order: Partial<ExportOrder> & Pick<ExportOrder, 'kind'>) {
      const { id } = await start(order);
      await work(id);
      const job = await service.get(id);
      return { job, bytes: bytesOf(job.artifactId!), draft: drafts.find((each) => each.exportId === id)! };
    },
  };
}
