// Checking what is stored: every chunk's counts and digest from its rows again, every link of its hash chain, and on request the source.
import type { EntityManager } from '@mikro-orm/postgresql';
import { chunkOf } from '../core/coverage.ts';
import { addDigests, EMPTY_DIGEST, formatDigest, type Digest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import type { Reason } from '../core/errors.ts';
import type { CoverageProof, LedgerRange } from '../core/ledger.ts';
import { verdictOf, type RangeFinding, type Verification, type VerifyCall } from '../core/verification.ts';
import type { Watch } from '../core/watch.ts';
import type { Source } from '../sources/source.ts';
import { gapsFrom, scopeOfFollowed } from '../store/coverage-gaps.ts';
import type { Database } from '../store/database.ts';
import { entriesOfRange } from '../store/entries.ts';
import { withLedgerSnapshot } from '../store/ledger-snapshot.ts';
import { followerWatch, type WatchFacts } from '../store/status.ts';
import type { Stream } from '../store/streams.ts';
import { countedChunks, membersOfSets, type CountedChunk } from '../store/verify-read.ts';
import { requireRange } from './gaps.ts';
import { keptFailure } from './kept-failure.ts';
import { ChainCheck, sealFault, StoredEntries, type StoredFault } from './stored-check.ts';
import { chooseStream } from './stream-choice.ts';
import { rereadRange } from './verify-reread.ts';

export interface VerifyDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
  /** In the order in which they are asked; the first is the one that is followed. */
  readonly sources: readonly Source[];
  readonly watch: Watch;
  /** Longest time for what is stored; what wasn't reached by then is said to be unchecked. */
  readonly maxMs?: number;
}

export const VERIFY_LIMITS = {
  maxMs: 20_000,
  maxFindings: 1_000,
  /** Ledgers whose chunks are held at once. */
  windowLedgers: 16_384,
  /** Entries that are held at once, but for one chunk that has more. */
  spanEntries: 20_000,
} as const;

/**
 * Checks a range in one snapshot, so that writers beside it don't matter. Changes nothing.
 *
 * @throws TrueUpError STREAM_NOT_FOUND, INVALID_LEDGER_RANGE, SOURCE_NOT_FOUND; what can't be read is a finding
 */
export async function verifyRange(deps: VerifyDeps, call: VerifyCall, signal: AbortSignal): Promise<Verification> {
  requireRange(call.range);
  const deadlineMs = performance.now() + (deps.maxMs ?? VERIFY_LIMITS.maxMs);
  const check = new Check(call.layer, call.range);
  await withLedgerSnapshot(deps.db, async (em) => {
    const stream = await chooseStream(em, call.stream, deps.networkPassphrase);
    const watch = await followerWatch(em, stream.id);
    if (watch === null) return check.unchecked(call.range, 'COVERAGE_GAP', 'nothing of this stream was read yet');
    await findGaps(em, stream, watch, check);
    await checkStored(em, stream, watch, check, deadlineMs, signal);
  });
  if (call.reread) {
    for (const finding of await rereadRange(deps, call, check.storedChunks, signal)) check.add(finding);
  }
  return check.result();
}

/** What a check has come to. */
class Check {
  readonly layer: Layer;
  readonly range: LedgerRange;
  /** Digests of all that is followed, by the pieces that were read. */
  readonly storedChunks: { range: LedgerRange; digest: Digest; lastHash: string | null }[] = [];
  checkedLedgers = 0;
  checkedEntries = 0;
  digest = EMPTY_DIGEST;
  proof: CoverageProof | null = null;
  #whole = true;
  #findings: RangeFinding[] = [];
  #reasons = new Set<Reason>();
  #count = 0;

  constructor(layer: Layer, range: LedgerRange) {
    this.layer = layer;
    this.range = range;
  }

  add(finding: RangeFinding): void {
    this.#count++;
    this.#reasons.add(finding.failure.reason);
    if (this.#findings.length < VERIFY_LIMITS.maxFindings) this.#findings.push(finding);
  }

  wrong(fault: Omit<StoredFault, 'expected' | 'actual'> & Pick<RangeFinding, 'expected' | 'actual'>): void {
    const { range, reason, message, expected, actual } = fault;
    const fix = `read them again: trueup backfill start --from ${range.from} --to ${range.to - 1}`;
    this.add({ range, failure: keptFailure(reason, message, null, fix), expected, actual });
  }

  unchecked(range: LedgerRange, reason: Reason, message: string): void {
    this.#whole = false;
    this.wrong({ range, reason, message, expected: null, actual: null });
  }

  result(): Verification {
    return {
      verdict: verdictOf(this.#reasons),
      checkedLedgers: this.checkedLedgers,
      checkedEntries: this.checkedEntries,
      digest: this.#whole ? formatDigest(this.digest) : null,
      findings: this.#findings.sort((a, b) => a.range.from - b.range.from),
      findingCount: this.#count,
      proof: this.proof,
    };
  }
}

async function findGaps(em: EntityManager, stream: Stream, watch: WatchFacts, check: Check): Promise<void> {
  const scope = await scopeOfFollowed(em, stream.id, watch);
  const query = { streamId: stream.id, layer: check.layer, scope, wanted: check.range, oldest: null };
  for (let from = check.range.from; from < check.range.to;) {
    const gaps = await gapsFrom(em, query, from, VERIFY_LIMITS.maxFindings);
    for (const { available, ...gap } of gaps) {
      const [reason, words] =
        available === false
          ? (['LEDGER_UNAVAILABLE', 'kept by no configured source'] as const)
          : (['COVERAGE_GAP', 'not covered'] as const);
      check.unchecked(gap, reason, `ledgers ${gap.from}-${gap.to - 1} are ${words}`);
    }
    from = gaps.length < VERIFY_LIMITS.maxFindings ? check.range.to : gaps.at(-1)!.to;
  }
}

/** Window by window, so that neither chunks nor entries of a long range are ever held together. */
async function checkStored(
  em: EntityManager,
  stream: Stream,
  watch: WatchFacts,
  check: Check,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { from, to } = check.range;
  const members = await membersOfSets(em, stream.id);
  const chain = new ChainCheck();
  for (let at = from; at < to; at += VERIFY_LIMITS.windowLedgers) {
    const window = { from: at, to: Math.min(to, at + VERIFY_LIMITS.windowLedgers) };
    const chunks = await countedChunks(em, stream.id, check.layer, window);
    // A chunk that began in the window before was checked with it.
    const fresh = at === from ? chunks : chunks.filter((chunk) => chunk.range.from >= at);
    for (const chunk of fresh) checkLink(check, chain, chunk);
    for (const span of spansOf(fresh)) {
      signal.throwIfAborted();
      if (performance.now() > deadlineMs) {
        const rest = { from: Math.max(from, span[0]!.range.from), to };
        return check.unchecked(rest, 'DEADLINE_EXCEEDED', `there was no time for ledgers ${rest.from}-${to - 1}`);
      }
      await checkSpan(em, stream, watch, members, check, span);
    }
  }
}

function checkLink(check: Check, chain: ChainCheck, chunk: CountedChunk): void {
  check.proof = chunk.proof === 'chained' && check.proof !== 'provider-asserted' ? 'chained' : 'provider-asserted';
  const fault = chain.fault(chunk);
  if (fault !== null) check.wrong(fault);
}

/** Chunks whose entries are read by one statement. */
function* spansOf(chunks: readonly CountedChunk[]): Generator<CountedChunk[]> {
  let span: CountedChunk[] = [];
  let entries = 0;
  for (const chunk of chunks) {
    const last = span.at(-1);
    const startsNew = last !== undefined && chunkOf(last.range.from) !== chunkOf(chunk.range.from);
    if (startsNew && entries + chunk.digest.count > VERIFY_LIMITS.spanEntries) {
      yield span;
      [span, entries] = [[], 0];
    }
    span.push(chunk);
    entries += chunk.digest.count;
  }
  if (span.length > 0) yield span;
}

async function checkSpan(
  em: EntityManager,
  stream: Stream,
  watch: WatchFacts,
  members: ReadonlyMap<number, ReadonlySet<string> | null>,
  check: Check,
  span: readonly CountedChunk[],
): Promise<void> {
  const range = { from: span[0]!.range.from, to: Math.max(...span.map((chunk) => chunk.range.to)) };
  const entries = new StoredEntries(await entriesOfRange(em, stream.id, check.layer, range, null));
  const followed = watch.members === null ? null : (members.get(watch.watchSetId) ?? null);
  let counted = check.range.from;
  for (const chunk of span) {
    const actual = entries.digestOf(chunk.range, members.get(chunk.watchSetId) ?? null);
    const fault = sealFault(chunk, actual);
    if (fault !== null) check.wrong(fault);
    // Watch sets overlap; each ledger counts once.
    const inside = { from: Math.max(counted, chunk.range.from), to: Math.min(check.range.to, chunk.range.to) };
    if (inside.from >= inside.to) continue;
    const same = inside.from === chunk.range.from && inside.to === chunk.range.to;
    const digest = same && chunk.watchSetId === watch.watchSetId ? actual : entries.digestOf(inside, followed);
    check.digest = addDigests(check.digest, digest);
    check.checkedLedgers += inside.to - inside.from;
    check.checkedEntries += digest.count;
    const endsThere = inside.to === chunk.range.to;
    check.storedChunks.push({ range: inside, digest, lastHash: endsThere ? chunk.lastHash : null });
    counted = inside.to;
  }
}
