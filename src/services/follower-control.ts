// An operator's hand on the follower: begin again, or read again what is below the checkpoint.
import { hash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import { answerOnce } from '../store/call-answers.ts';
import type { Database } from '../store/database.ts';
import { revokeLease } from '../store/leases.ts';
import { currentStream, noteRestart, readFollower, type FollowerRow, type Stream } from '../store/streams.ts';
import { followerLease } from './follower-lease.ts';
import { chooseStream } from './stream-choice.ts';

export interface RestartCall {
  /** Null: the one that is followed. */
  readonly stream: string | null;
  readonly reason: string;
  readonly openNewEpoch: boolean;
  /** Null: every call counts as new. */
  readonly requestId: string | null;
}

export interface RescanCall {
  readonly stream: string | null;
  /** Undefined: all that the source shows. */
  readonly layer?: Layer;
  /** How many ledgers below the checkpoint; 0: as many as by default. */
  readonly ledgers: number;
  readonly reason: string;
  readonly requestId: string | null;
}

/** A backfill that reads covered ledgers again and compares them with what is stored. */
export interface Reread {
  readonly stream: string;
  readonly layer?: Layer;
  readonly range: LedgerRange;
  readonly reason: string;
  readonly requestId: string | null;
}

export interface FollowerControlDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
}

export const RESCAN_DEFAULT_LEDGERS = 128;

/**
 * Takes the lease away from whoever follows: what it hasn't committed is rolled back, and the first replica that claims the lease
 * begins at the checkpoint, so nothing is lost or doubled. A replica that waits out a failure is woken by it too.
 *
 * @returns the stream's name
 * @throws TrueUpError STREAM_NOT_FOUND, INVALID_REQUEST for an older epoch or a new one that nothing asks for, REQUEST_ID_REUSED
 */
export async function restartFollower(deps: FollowerControlDeps, call: RestartCall, caller: Caller): Promise<string> {
  const content = JSON.stringify([call.stream, call.reason, call.openNewEpoch]);
  const repeatable = { method: caller.method, requestId: call.requestId, digest: hash('sha256', content) };
  // Before anything is judged: the state that made it possible may have passed since.
  const { stream } = await deps.db
    .em()
    .transactional((em) => answerOnce(em, repeatable, async () => ({ stream: await restart(em, deps, call, caller) })));
  return stream;
}

async function restart(
  em: EntityManager,
  deps: FollowerControlDeps,
  call: RestartCall,
  caller: Caller,
): Promise<string> {
  const { stream, row } = await followedStream(deps, call.stream);
  if (call.openNewEpoch && stream.state !== 'diverged') {
    throw new TrueUpError('INVALID_REQUEST', `${stream.name} is not diverged: its source serves the same history`, {
      fix: 'restart without open_new_epoch',
      fields: [{ field: 'open_new_epoch', description: 'needs a stream that is SOURCE_DIVERGED' }],
    });
  }
  await noteRestart(em, stream.id, call.openNewEpoch);
  await revokeLease(em, followerLease(stream.networkPassphrase));
  await writeAudit(
    em,
    { ...caller, requestId: call.requestId ?? '' },
    {
      resourceType: 'follower',
      resourceId: stream.name,
      reason: call.reason,
      before: { state: stream.state, next_ledger: row.nextLedger, last_error: row.lastErrorReason },
      after: { open_new_epoch: call.openNewEpoch },
    },
  );
  return stream.name;
}

/**
 * Starts a backfill over the last ledgers below the checkpoint; the follower goes on.
 *
 * @throws TrueUpError STREAM_NOT_FOUND, LEDGER_NOT_YET_CLOSED where nothing was followed yet, and whatever the start of a backfill throws
 */
export async function rescanFromCheckpoint<Backfill>(
  deps: FollowerControlDeps & { readonly startReread: (reread: Reread) => Promise<Backfill> },
  call: RescanCall,
): Promise<Backfill> {
  const { stream, row } = await followedStream(deps, call.stream);
  const range = rescanRange(row, call.ledgers);
  if (range.from >= range.to) {
    throw new TrueUpError('LEDGER_NOT_YET_CLOSED', `${stream.name} has no ledger below its checkpoint yet`, {
      fix: 'see GetStatus for how far it has come',
    });
  }
  const { layer, reason, requestId } = call;
  return deps.startReread({ stream: stream.name, ...(layer && { layer }), range, reason, requestId });
}

export function rescanRange(row: Pick<FollowerRow, 'startLedger' | 'nextLedger'>, ledgers: number): LedgerRange {
  const count = ledgers === 0 ? RESCAN_DEFAULT_LEDGERS : ledgers;
  return { from: Math.max(row.startLedger, row.nextLedger - count), to: row.nextLedger };
}

/** Only the newest epoch has a follower. */
async function followedStream(
  { db, networkPassphrase }: FollowerControlDeps,
  name: string | null,
): Promise<{ stream: Stream; row: FollowerRow }> {
  const em = db.em();
  const stream = await chooseStream(em, name, networkPassphrase);
  const [current, row] = [await currentStream(em, networkPassphrase), await readFollower(em, stream.id)];
  if (stream.id === current?.id && row !== null) return { stream, row };
  throw new TrueUpError('INVALID_REQUEST', `${stream.name} is an older epoch that nobody follows any more`, {
    fix: `name ${current?.name ?? 'the stream that GetStatus shows as followed'}, or none`,
  });
}
