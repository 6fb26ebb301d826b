// An account that is watched from now on has a history too: what the follower read without it is read for it by itself.
import { hash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract, unite } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import { isTrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Caller } from '../store/audit.ts';
import { coverageByAccount } from '../store/coverage-lists.ts';
import { coverageOf } from '../store/coverage-read.ts';
import type { Database } from '../store/database.ts';
import { followerWatch, watchMembers } from '../store/status.ts';
import { currentStream, readFollower, type FollowerRow, type Stream } from '../store/streams.ts';
import type { StartBackfillCall } from './backfill.ts';

export interface NewMembersDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
  /** The layers that should be covered. */
  readonly layers: readonly Layer[];
  readonly startBackfill: (call: StartBackfillCall, caller: JobCaller) => Promise<unknown>;
}

/** Accounts and contracts that one backfill reads for; more are started for at the next look. */
const MAX_MEMBERS_PER_BACKFILL = 1_000;

/** The service itself, as the audit log names it. */
interface JobCaller extends Caller {
  readonly traceId: string;
  readonly peer: string;
}

const CALLER: JobCaller = {
  actor: 'trueup',
  role: 'admin',
  method: 'job/new-members',
  requestId: '',
  traceId: '',
  peer: '',
};

/**
 * Starts a backfill for each group of members that lack the same history. One look starts each once: a look after it finds the
 * backfill by its request id, or its ledgers in hand.
 *
 * @returns how many were started or found
 */
export async function backfillNewMembers(deps: NewMembersDeps): Promise<number> {
  const em = deps.db.em();
  const stream = await currentStream(em, deps.networkPassphrase);
  const row = stream && (await readFollower(em, stream.id));
  const watch = stream && (await followerWatch(em, stream.id));
  // Everything is one watch: nobody is new in it.
  if (!stream || !row || !watch || watch.members === null || watch.only) return 0;
  let count = 0;
  for (const layer of deps.layers) {
    for (const { members, range } of await lacking(em, stream, row, watch.watchSetId, layer)) {
      await start(deps, stream, layer, members, range);
      count++;
    }
  }
  return count;
}

interface Lacking {
  readonly members: readonly string[];
  /** From the first to the last ledger that they lack; what of it is covered is skipped. */
  readonly range: LedgerRange;
}

/** Members by what they lack of what was followed; ledgers that were set apart or are forgotten are lacking for everybody. */
async function lacking(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  watchSetId: number,
  layer: Layer,
): Promise<Lacking[]> {
  const members = await watchMembers(em, watchSetId);
  const wanted = { from: Math.max(row.startLedger, row.oldestLedger ?? 0), to: row.nextLedger };
  if (wanted.from >= wanted.to || members.length === 0) return [];
  const { quarantined, unavailable } = await coverageOf(em, stream.id, layer, members.slice(0, 1));
  const apart = unite([...quarantined, ...unavailable]);
  const groups = new Map<string, { members: string[]; range: LedgerRange }>();
  for (const [member, done] of await coverageByAccount(em, stream.id, layer, members)) {
    const missing = subtract(wanted, [...done, ...apart]);
    const [first, last] = [missing[0], missing.at(-1)];
    if (first === undefined || last === undefined) continue;
    const range = { from: first.from, to: last.to };
    const key = `${range.from}-${range.to}`;
    const group = groups.get(key) ?? { members: [], range };
    if (group.members.length < MAX_MEMBERS_PER_BACKFILL) group.members.push(member);
    groups.set(key, group);
  }
  return [...groups.values()];
}

async function start(
  deps: NewMembersDeps,
  stream: Stream,
  layer: Layer,
  members: readonly string[],
  range: LedgerRange,
): Promise<void> {
  const call: StartBackfillCall = {
    ...{ stream: stream.name, layer, range, source: null, watch: members, limits: null, planOf: null },
    ...{ dryRun: false, reread: false },
    reason: 'newly watched: what was followed without them is read for them',
    requestId: requestIdOf([stream.name, layer, ...members, range.to]),
  };
  try {
    await deps.startBackfill(call, CALLER);
  } catch (error) {
    // It is in hand, or was and shrank meanwhile; whatever it leaves out is found at a later look.
    if (!isTrueUpError(error, 'RUN_ALREADY_ACTIVE', 'REQUEST_ID_REUSED')) throw error;
  }
}

/** A UUID (version 8) that is the same for the same members and the same end of what they lack, on every replica. */
function requestIdOf(parts: readonly (string | number)[]): string {
  const hex = hash('sha256', JSON.stringify(parts));
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
