// Evidence in the database.
import type { EvidenceStore } from './evidence.ts';
import { logRows } from './evidence-log.ts';
import { manifestRows } from './manifests.ts';

export const DATABASE_EVIDENCE: EvidenceStore = { kind: 'database', ...manifestRows, ...logRows };
