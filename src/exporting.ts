// Composes exports: the service for the doors, the job for the queue, and what housekeeping clears away.
import type { Evidence } from './services/evidence.ts';
import { createExportsService } from './services/exports.ts';
import { removeOrphans } from './services/orphan-artifacts.ts';
import { runExport } from './services/run-export.ts';
import type { StatementBookDeps } from './services/statement-book.ts';
import type { FileArtifacts } from './outbound/artifacts.ts';
import type { Database } from './store/database.ts';
import type { JobContext, JobPayload, Queue } from './store/queue.ts';
import type { Events } from './telemetry/events.ts';
import { VERSION } from './version.ts';

export interface ExportingDeps {
  readonly db: Database;
  readonly queue: Pick<Queue, 'send'>;
  readonly artifacts: FileArtifacts;
  readonly evidence: Evidence;
  readonly networkPassphrase: string;
  readonly sandbox: boolean;
  readonly books: StatementBookDeps;
  readonly events: Events;
}

export function composeExports(deps: ExportingDeps) {
  const { db, artifacts, evidence } = deps;
  const { log } = evidence;
  return {
    service: createExportsService({ ...deps, requireSigning: () => void log.requireSigningKey() }),
    run: (payload: JobPayload, context: JobContext): Promise<void> =>
      runExport(
        {
          ...deps,
          recordManifest: (em, draft) => log.recordManifest(em, draft),
          generator: { name: 'trueup', version: VERSION },
        },
        String(payload['id']),
        context,
      ),
    removeOrphans: () => removeOrphans({ db, artifacts, isKept: evidence.isKept }, new Date()),
  };
}
