// A process of its own that works on one run, to be killed in the middle. Arguments: database URL, policy as JSON, run id,
// keys of a segment.
import type { Policy } from '../../src/core/policy.ts';
import { createRecordedBook } from '../../src/services/book-side.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { openDatabase } from '../../src/store/database.ts';
import { quietEvents } from '../_util/services.ts';

const [url, policyJson, runId, segmentKeys] = process.argv.slice(2) as [string, string, string, string];
const policy = JSON.parse(policyJson) as Policy;
await using db = await openDatabase({ url, poolMax: 6 });
await runReconciliation(
  {
    db,
    policies: new Map([[policy.name, policy]]),
    bookOf: () => createRecordedBook({ db }, policy.name),
    networkPassphrase: policy.name,
    following: { endLedger: null, maxSilenceMs: 3_600_000 },
    events: quietEvents().events,
    segmentKeys: Number(segmentKeys),
  },
  runId,
  { attempt: 1, maxAttempts: 100, signal: new AbortController().signal },
);
