// Composes evidence: the key, the log, and who seals it.
import { join } from 'node:path';
import type { Config } from './config/config.ts';
import { readSigningKey, type SigningKey } from './core/signing-key.ts';
import { createEvidence } from './services/evidence.ts';
import { developmentKey } from './outbound/development-key.ts';
import type { Database } from './store/database.ts';
import type { Events } from './telemetry/events.ts';
import type { FileArtifacts } from './outbound/artifacts.ts';

/** Evidence over the artifacts, signed with whichever key there is. */
export async function composeEvidence({ config, db, artifacts, events }: EvidenceDeps) {
  const signingKey = await signingKeyOf(config, events);
  const { storage, sealIntervalMs } = config.evidence;
  const evidence = createEvidence({
    ...config.evidence,
    ...{ db, artifacts, signingKey, events },
    serviceName: config.service.name,
  });
  await evidence.log.open();
  const isTended = signingKey !== null;
  return {
    evidence,
    /** How often the job seals; null: it doesn't. */
    sealIntervalMs: storage === 'memory' || !isTended ? null : sealIntervalMs,
    // A log in memory is each process's own, so each seals its own.
    loops:
      storage === 'memory' && isTended
        ? [{ name: 'evidence', intervalMs: sealIntervalMs, run: () => evidence.tend() }]
        : [],
  };
}

export interface EvidenceDeps {
  readonly config: Config;
  readonly db: Database;
  readonly artifacts: FileArtifacts;
  readonly events: Events;
}

/** The key that is configured; the sandbox makes one of its own, and says that it is worth nothing elsewhere. */
async function signingKeyOf(config: Config, events: Events): Promise<SigningKey | null> {
  const { signingKeyPem } = config.secrets;
  if (signingKeyPem !== null) return readSigningKey(signingKeyPem);
  if (config.source.kind !== 'sandbox') return null;
  const path = join(config.service.dataDir, 'evidence', 'development-key.pem');
  events.configWarning({ message: `evidence is signed with a DEVELOPMENT key, made for this sandbox: ${path}` });
  return await developmentKey(path);
}
