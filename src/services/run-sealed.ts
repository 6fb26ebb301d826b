// Sealed chunks in a run: what it needn't read, because a run before it found both sides equal there and nobody wrote since; and
// what the next one needn't.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract } from '../core/coverage.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive } from '../core/run.ts';
import { ChunkTallies, skipSealed, type Seal, type Skipped } from '../core/seal.ts';
import { findBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';
import type { StoredRun } from '../store/runs.ts';
import { dropSeals, layPendingSeals, readSeals, sealChunks, type SealScope } from '../store/seals.ts';
import { currentStream, readFollower } from '../store/streams.ts';
import type { RunFrame } from './run-frame.ts';
import { rangesReason } from './run-reasons.ts';
import type { BookFrame, ResolvedJoin } from './run-scope.ts';

const HOUR_MS = 3_600_000;

/** Plain values: they are kept with the run's cut. */
export interface KeptSeals {
  readonly skipped: Skipped;
  readonly fingerprint: string;
  readonly scope: SealScope;
}

export interface RunSeals {
  readonly kept: KeptSeals;
  readonly skipped: Skipped;
  readonly tallies: ChunkTallies;
}

/**
 * Lays down pending seals before the run takes its snapshots; null where the policy can't be sealed: its book is
 * somebody else's, an amount may differ within a tolerance, or a caller narrowed the run.
 */
export async function prepareSeals(
  db: Database,
  networkPassphrase: string,
  policy: Policy,
  run: Pick<StoredRun, 'request'>,
): Promise<SealScope | null> {
  const { book, ledger, level, windowHours } = policy;
  if (level !== 'entries' || book.kind !== 'recorded' || ledger.kind !== 'stream' || windowHours === null) return null;
  if (policy.amountTolerances.length > 0 || run.request.scope !== null || run.request.range !== null) return null;
  const stream = await currentStream(db.em(), networkPassphrase);
  const kept = await findBook(db.em(), book.name);
  const closedAt = stream && (await readFollower(db.em(), stream.id))?.lastClosedAt;
  if (!stream || !kept || !closedAt) return null;
  const scope = { policy: policy.name, streamId: stream.id, layer: policy.layer, bookId: kept.id };
  // What is inside grace may still be missing rightly, and would only be looked at in vain.
  const until = Math.min(closedAt.getTime() - policy.grace.missingOnLedgerMs, Date.now() - policy.grace.missingInDbMs);
  await db
    .em()
    .transactional((em) => layPendingSeals(em, scope, Math.max(0, closedAt.getTime() - windowHours * HOUR_MS), until));
  return scope;
}

/** What the run may leave out, as its own snapshot of the ledger has it; a broken seal is a reason of its own. */
export async function readRunSeals(
  em: EntityManager,
  scope: SealScope,
  policy: Policy,
  { frame, bookFrame, join }: { frame: RunFrame; bookFrame: BookFrame; join: ResolvedJoin },
  inconclusive: Inconclusive[],
): Promise<RunSeals> {
  const fingerprint = fingerprintOf(policy, bookFrame, join);
  const seals = (await readSeals(em, scope, frame.window)).filter(
    (seal) =>
      seal.fromMs >= frame.windowFromMs && seal.toMs <= frame.cutClosedMs && subtract(seal, frame.done).length === 0,
  );
  const of = (state: Seal['state']) => seals.filter((seal) => seal.state === state);
  const broken = of('broken');
  if (broken.length > 0) {
    const words = `${broken.length} sealed chunks no longer hold what they were sealed with: ${broken[0]!.detail}`;
    inconclusive.push(
      rangesReason('SEAL_BROKEN', broken, words, 'find out who changed the table, then backfill the range'),
    );
  }
  const skipped = skipSealed(of('sealed').filter((seal) => seal.fingerprint === fingerprint));
  return { kept: { skipped, fingerprint, scope }, skipped, tallies: new ChunkTallies(of('pending')) };
}

/** A run that is taken over leaves out what its cut does, and seals nothing: it hasn't seen all of any chunk. */
export function sealsOfCut(kept: KeptSeals | null): RunSeals | null {
  return kept && { kept, skipped: kept.skipped, tallies: new ChunkTallies([]) };
}

/** In the transaction that concludes the run: seals what agreed, and drops what no run can use any more. */
export async function keepSeals(em: EntityManager, { kept, tallies }: RunSeals): Promise<void> {
  const { scope, fingerprint } = kept;
  await sealChunks(em, scope, fingerprint, tallies.agreed());
  await dropSeals(em, scope.policy, fingerprint);
}

/** All on which agreement depends beside the rows: a new account of the book puts old entries into scope, and voids every seal. */
function fingerprintOf(policy: Policy, book: BookFrame, join: ResolvedJoin): string {
  const { schedule: _, alert: __, windowHours: ___, ...rules } = policy;
  const pairs = book.pairs.map(({ account, asset }) => [account, asset]);
  return createHash('sha256')
    .update(JSON.stringify([rules, pairs, book.accounts, join]))
    .digest('hex');
}
