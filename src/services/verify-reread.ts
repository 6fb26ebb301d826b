// The far side's half of a check: the ledgers read again, and a sample of them asked of a second source.
import { intersect } from '../core/coverage.ts';
import { addDigests, digestEntries, EMPTY_DIGEST, equalDigests, formatDigest, type Digest } from '../core/digest.ts';
import { isTrueUpError, TrueUpError } from '../core/errors.ts';
import { nextRead } from '../core/follow.ts';
import type { LedgerBatch, LedgerRange } from '../core/ledger.ts';
import { failureOf } from '../core/status.ts';
import { sampleOf, type RangeFinding, type VerifyCall } from '../core/verification.ts';
import type { Watch } from '../core/watch.ts';
import { crossCheckSources } from '../sources/cross-check.ts';
import type { Source } from '../sources/source.ts';
import { keptFailure } from './kept-failure.ts';

const COMPARE = 'compare both with another source; one of them is wrong';
/** Ledgers of a range that every other source is asked for too. */
const SAMPLED_LEDGERS = 16;

export interface StoredPiece {
  readonly range: LedgerRange;
  readonly digest: Digest;
  /** Of its last ledger; null where it isn't kept. */
  readonly lastHash: string | null;
}

/**
 * What the source has otherwise than we do. What can't be read again is a finding too, with the source's own reason.
 *
 * @throws TrueUpError SOURCE_NOT_FOUND for a name that isn't configured; the signal's reason
 */
export async function rereadRange(
  { sources, watch }: { readonly sources: readonly Source[]; readonly watch: Watch },
  call: VerifyCall,
  stored: readonly StoredPiece[],
  signal: AbortSignal,
): Promise<RangeFinding[]> {
  const source = chooseSource(sources, call.source);
  const findings: RangeFinding[] = [];
  const pieces = stored.map((piece) => new PieceRead(piece));
  for (let from = call.range.from; from < call.range.to;) {
    const range = nextRead(from, call.range.to - 1, null, source.maxSpanLedgers)!;
    try {
      const batch = await source.read({ range, layers: [call.layer], watch }, signal);
      for (const piece of pieces) piece.add(batch);
    } catch (error) {
      findings.push(unread(range, error, signal));
    }
    from = range.to;
  }
  for (const piece of pieces) findings.push(...piece.differences(source));
  for (const other of sources) {
    if (other !== source) findings.push(...(await sampleOther(source, other, call.range, signal)));
  }
  return findings;
}

function chooseSource(sources: readonly Source[], name: string | null): Source {
  const found = name === null ? sources[0] : sources.find((source) => source.id === name || source.kind === name);
  if (found) return found;
  throw new TrueUpError('SOURCE_NOT_FOUND', `no source is called ${name}`, {
    fix: `use one of: ${sources.map((source) => source.id).join(', ')}`,
  });
}

/** A stored piece as it is read again, in as many batches as the source needs. */
class PieceRead {
  readonly #stored: StoredPiece;
  #digest: Digest = EMPTY_DIGEST;
  #ledgers = 0;
  #lastHash: string | null = null;

  constructor(stored: StoredPiece) {
    this.#stored = stored;
  }

  add(batch: LedgerBatch): void {
    const [common] = intersect([this.#stored.range], [batch.range]);
    if (common === undefined) return;
    const records = batch.records.filter(({ sequence }) => sequence >= common.from && sequence < common.to);
    this.#digest = addDigests(this.#digest, digestEntries(records.flatMap((record) => record.entries)));
    this.#ledgers += common.to - common.from;
    if (common.to !== this.#stored.range.to) return;
    const last = common.to === batch.range.to ? batch.last : records.at(-1);
    if (last?.sequence === common.to - 1) this.#lastHash = last.hash;
  }

  /** A piece that didn't come whole is not compared: why it didn't is a finding of its own. */
  differences(source: Source): RangeFinding[] {
    const { range, digest, lastHash } = this.#stored;
    if (this.#ledgers < range.to - range.from) return [];
    const findings: RangeFinding[] = [];
    const [first, last] = [range.from, range.to - 1];
    if (this.#lastHash !== null && lastHash !== null && this.#lastHash !== lastHash) {
      const message = `${source.id} has ledger ${last} with another hash than the one stored`;
      const failure = keptFailure('SOURCE_DIVERGED', message, null, COMPARE);
      findings.push({ range: { from: last, to: range.to }, failure, expected: this.#lastHash, actual: lastHash });
    }
    if (!equalDigests(this.#digest, digest)) {
      const content = this.#digest.count === digest.count ? ' with other content' : '';
      const message = `${source.id} has ${this.#digest.count} entries in ledgers ${first}-${last}, ${digest.count} are stored${content}`;
      const failure = keptFailure('ENTRY_CONFLICT', message, null, COMPARE);
      findings.push({ range, failure, expected: formatDigest(this.#digest), actual: formatDigest(digest) });
    }
    return findings;
  }
}

async function sampleOther(
  source: Source,
  other: Source,
  range: LedgerRange,
  signal: AbortSignal,
): Promise<RangeFinding[]> {
  try {
    const checked = await crossCheckSources(source, other, sampleOf(range, SAMPLED_LEDGERS), signal);
    if (checked.equal.length + checked.conflicts.length === 0) {
      const message = `${other.id} keeps none of the ledgers ${range.from}-${range.to - 1} that were to be compared`;
      const failure = keptFailure('LEDGER_UNAVAILABLE', message, null);
      return [{ range, failure, expected: null, actual: null }];
    }
    return checked.conflicts.map(({ sequence, a, b, fields }) => {
      const message = `${source.id} and ${other.id} have ledger ${sequence} with another ${fields.join(', ')}`;
      const failure = keptFailure('SOURCE_DIVERGED', message, null, COMPARE);
      return { range: { from: sequence, to: sequence + 1 }, failure, expected: b.hash, actual: a.hash };
    });
  } catch (error) {
    return [unread(range, error, signal)];
  }
}

function unread(range: LedgerRange, error: unknown, signal: AbortSignal): RangeFinding {
  if (signal.aborted || !isTrueUpError(error)) throw error;
  return { range: error.details.range ?? range, failure: failureOf(error, null), expected: null, actual: null };
}
