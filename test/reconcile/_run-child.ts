// Works on one run in a process of its own, and kills itself with SIGKILL at the given statement of all that it sends to PostgreSQL.
import pg from 'pg';
import type { Policy } from '../../src/core/policy.ts';
import { createRecordedBook } from '../../src/services/book-side.ts';
import { runReconciliation, type RunDeps } from '../../src/services/run-reconciliation.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { openDatabase } from '../../src/store/database.ts';
import { fromJson } from '../../src/store/json.ts';
import { quietEvents } from '../_util/services.ts';

export interface RunOrder {
  readonly url: string;
  readonly runId: string;
  readonly policy: Policy;
  readonly following?: RunDeps['following'];
  /** Two sides in a database of the user's, by their queries; absent: the stream and the policy's own book. */
  readonly outside?: { readonly url: string; readonly ledger: string; readonly book: string };
  readonly segmentKeys?: number;
  /** From 1; 0: never. */
  readonly killAt: number;
  /** Only statements that hold this text are counted; absent: all. */
  readonly counted?: string;
  /** The statement is on its way to the server already. */
  readonly afterSending: boolean;
}

const {
  url,
  runId,
  policy,
  following,
  outside,
  segmentKeys,
  killAt,
  counted = '',
  afterSending,
} = fromJson<RunOrder>(JSON.parse(process.argv[2]!));
await using db = await openDatabase({ url, poolMax: 4 });

let statements = 0;
const die = (): void => void process.kill(process.pid, 'SIGKILL');
const client = pg.Client.prototype as unknown as { query: (...call: unknown[]) => unknown };
const { query } = client;
client.query = function (this: unknown, ...call: unknown[]) {
  const [statement] = call as [string | { readonly text?: string }];
  const text = typeof statement === 'string' ? statement : (statement.text ?? '');
  const isLast = text.includes(counted) && ++statements === killAt;
  if (isLast && !afterSending) die();
  const answer = query.apply(this, call);
  if (isLast) setImmediate(die);
  return answer;
};

const recorded = createRecordedBook({ db }, policy.name);
const sides = outside && {
  bookOf: () => createPostgresBook({ url: outside.url, query: outside.book }),
  ledgerOf: () => createPostgresBook({ url: outside.url, query: outside.ledger }),
};
await runReconciliation(
  {
    db,
    policies: new Map([[policy.name, policy]]),
    bookOf: () => recorded,
    networkPassphrase: policy.name,
    ...(following && { following }),
    events: quietEvents().events,
    ...sides,
    ...(segmentKeys && { segmentKeys }),
  },
  runId,
  { attempt: 1, maxAttempts: 1, signal: new AbortController().signal },
);
process.send!(statements, () => process.disconnect());
