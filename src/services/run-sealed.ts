// Sealed chunks in a run: what it needn't read, because a run before it found both sides equal there and nobody wrote since; and
// what the next one needn't.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract } from '../core/coverage.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import type { Inconclusive } from '../core/run.ts';
import { ChunkTallies, skipSealed, type Seal, type Skipped } from '../core/seal.ts';
import { findBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';
import type { StoredRun } from '../store/runs.ts';
import { dropSeals, layPendingSeals, readSeals, sealChunks } from '../store/seals.ts';
import { currentStream, readFollower } from '../store/streams.ts';
import type { OutsideDigest, SealScope } from '../store/seals.ts';
import { drawSeeds } from './run-digest.ts';
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
  /** What an outside book says of each chunk that agreed, by its first ledger; absent: the book is TrueUp's own. */
  readonly outside?: ReadonlyMap<number, OutsideDigest>;
}

/**
 * Lays down pending seals before the run takes its snapshots; null where the policy can't be sealed: its book is
 * somebody else's who hasn't declared it immutable, an amount may differ within a tolerance, or a caller narrowed the run.
 */
export async function prepareSeals(
  db: Database,
  networkPassphrase: string,
  policy: Policy,
  run: Pick<StoredRun, 'request'>,
): Promise<SealScope | null> {
  const { ledger, level, windowHours } = policy;
  if (level !== 'entries' || ledger.kind !== 'stream' || windowHours === null) return null;
  if (policy.amountTolerances.length > 0 || run.request.scope !== null || run.request.range !== null) return null;
  const stream = await currentStream(db.em(), networkPassphrase);
  const book = await sealableBook(db, policy);
  const closedAt = stream && (await readFollower(db.em(), stream.id))?.lastClosedAt;
  if (!stream || !book || !closedAt) return null;
  const scope = { policy: policy.name, streamId: stream.id, layer: policy.layer, bookId: book.id };
  // What is inside grace may still be missing rightly, and would only be looked at in vain.
  const until = Math.min(closedAt.getTime() - policy.grace.missingOnLedgerMs, Date.now() - policy.grace.missingInDbMs);
  await db
    .em()
    .transactional((em) => layPendingSeals(em, scope, Math.max(0, closedAt.getTime() - windowHours * HOUR_MS), until));
  return scope;
}

/** Of TrueUp's own books each write is seen; of a side of the user's a promise has to do. */
async function sealableBook(db: Database, { book }: Policy): Promise<{ readonly id: number | null } | null> {
  if (book.kind === 'recorded') return findBook(db.em(), book.name);
  return book.kind === 'external' && book.immutable ? { id: null } : null;
}

/** What the run may leave out, as its own snapshot of the ledger has it; a broken seal is a reason of its own. */
export async function readRunSeals(
  em: EntityManager,
  scope: SealScope,
  policy: Policy,
  { frame, book, bookFrame, join }: { frame: RunFrame; book: RowSide; bookFrame: BookFrame; join: ResolvedJoin },
  inconclusive: Inconclusive[],
): Promise<RunSeals | null> {
  // One whose rows tell no time has none in any chunk.
  if (scope.bookId === null && book.contentOfSpans === undefined) return null;
  const fingerprint = fingerprintOf(policy, book, bookFrame, join);
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

/** Asks a book that isn't TrueUp's own what it has in the chunks that agreed, while its snapshot is there. */
export async function askOutside(seals: RunSeals, book: RowSide): Promise<RunSeals> {
  if (seals.kept.scope.bookId !== null) return seals;
  const agreed = seals.tallies.agreed();
  const seeds = drawSeeds();
  const digests = await book.contentOfSpans!(seeds, agreed);
  return { ...seals, outside: new Map(agreed.map(({ from }, i) => [from, { seeds, digest: digests[i]! }])) };
}

/** A run that is taken over leaves out what its cut does, and seals nothing: it hasn't seen all of any chunk. */
export function sealsOfCut(kept: KeptSeals | null): RunSeals | null {
  return kept && { kept, skipped: kept.skipped, tallies: new ChunkTallies([]) };
}

/** In the transaction that concludes the run: seals what agreed, and drops what no run can use any more. */
export async function keepSeals(em: EntityManager, { kept, tallies, outside }: RunSeals): Promise<void> {
  const { scope, fingerprint } = kept;
  const agreed = tallies.agreed().map((chunk) => {
    const digest = outside?.get(chunk.from);
    return { ...chunk, ...(digest && { outside: digest }) };
  });
  await sealChunks(em, scope, fingerprint, agreed);
  await dropSeals(em, scope.policy, fingerprint);
}

/** All on which agreement depends beside the rows: a new account of the book puts old entries into scope, and voids every seal. */
function fingerprintOf(policy: Policy, { identity = '' }: RowSide, book: BookFrame, join: ResolvedJoin): string {
  const { schedule: _, alert: __, windowHours: ___, ...rules } = policy;
  const pairs = book.pairs.map(({ account, asset }) => [account, asset]);
  return createHash('sha256')
    .update(JSON.stringify([rules, identity, pairs, book.accounts, join]))
    .digest('hex');
}
