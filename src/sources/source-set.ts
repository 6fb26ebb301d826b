// Several sources of one network as one: the first that can answers, and what two of them have must be the same.
import { isTrueUpError, TrueUpError } from '../core/errors.ts';
import type { LedgerBatch, LedgerHeader } from '../core/ledger.ts';
import type { ReadRequest, Source, SourceTip } from './source.ts';

export interface SourceSetOptions {
  /** In the order in which they are preferred; the first says which layers are read. Those that show fewer only take part in comparing. */
  readonly sources: readonly [Source, ...Source[]];
  /** Told whenever another source than before answers, and why the ones before it didn't. */
  readonly onSwitch?: (event: { readonly from: string; readonly to: string; readonly error: unknown }) => void;
  readonly clock?: () => number;
}

/** One of the sources, as this process has met it. */
export interface SourceMember {
  readonly source: Source;
  /** Whether it gave the last answer. */
  readonly active: boolean;
  /** Why it last failed; null: it never did. */
  readonly failure: { readonly error: unknown; readonly at: Date } | null;
}

export interface SourceSet extends Source {
  /** Those that are read, in the order in which they are preferred. */
  members(): SourceMember[];
}

/** Reasons for which another source may still have the answer. */
const ELSEWHERE = [
  'SOURCE_UNAVAILABLE',
  'SOURCE_TIMEOUT',
  'SOURCE_RATE_LIMITED',
  'SOURCE_CIRCUIT_OPEN',
  'SOURCE_REFUSED',
  'SOURCE_CORRUPT',
  'SOURCE_LAGGING',
  'SOURCE_ANSWER_TOO_LARGE',
  'LEDGER_UNAVAILABLE',
  'LEDGER_NOT_YET_CLOSED',
] as const;

/** Two sources that were found the same are compared again after this. */
const COMPARE_INTERVAL_MS = 60_000;
/** A source that failed is passed over for this long, unless all others fail too. */
const REST_MS = 30_000;

/**
 * A read says in its batch which source gave it. The tip is the highest that any source has; a source whose end is before the
 * ledgers asked for is passed over.
 *
 * @throws TrueUpError SOURCE_DIVERGED from `tip` where two sources have a ledger with different hashes: nothing is read then
 */
export function createSourceSet({ sources, onSwitch, clock = Date.now }: SourceSetOptions): SourceSet {
  const [first] = sources;
  const able = sources.filter((source) => first.layers.every((layer) => source.layers.includes(layer)));
  const restUntil = new Map<Source, number>();
  const failures = new Map<Source, NonNullable<SourceMember['failure']>>();
  const failed = (source: Source, error: unknown): void => {
    failures.set(source, { error, at: new Date(clock()) });
    restUntil.set(source, clock() + REST_MS);
  };
  let active: Source = first;
  let comparedAt = -Infinity;

  /** The preferred ones first; those that failed lately come last, but they come. */
  const inOrder = (): Source[] => {
    const resting = (source: Source): boolean => (restUntil.get(source) ?? 0) > clock();
    return [...able.filter((source) => !resting(source)), ...able.filter(resting)];
  };

  async function firstThatCan<T>(signal: AbortSignal, ask: (source: Source) => Promise<T>): Promise<[T, Source]> {
    let failure: { readonly error: unknown } | undefined;
    for (const source of inOrder()) {
      signal.throwIfAborted();
      try {
        const answer = await ask(source);
        if (source !== active) onSwitch?.({ from: active.id, to: source.id, error: failure?.error ?? null });
        active = source;
        return [answer, source];
      } catch (error) {
        if (signal.aborted || !isTrueUpError(error, ...ELSEWHERE)) throw error;
        // A ledger that is not kept, or not closed yet, is no fault of the source.
        if (!isTrueUpError(error, 'LEDGER_UNAVAILABLE', 'LEDGER_NOT_YET_CLOSED', 'SOURCE_CORRUPT'))
          failed(source, error);
        // The preferred source's word counts; a laggard's "not yet" tells nothing.
        if (failure === undefined || isTrueUpError(failure.error, 'LEDGER_NOT_YET_CLOSED')) failure = { error };
      }
    }
    throw failure!.error;
  }

  async function tip(signal: AbortSignal): Promise<SourceTip> {
    const answers = await Promise.all(
      able.map(async (source) => {
        try {
          return { source, tip: await source.tip(signal) };
        } catch (error) {
          if (signal.aborted || !isTrueUpError(error, ...ELSEWHERE)) throw error;
          failed(source, error);
          return { source, error };
        }
      }),
    );
    const tips = answers.flatMap((answer) => ('tip' in answer && answer.tip ? [{ ...answer, tip: answer.tip }] : []));
    const best = tips.reduce<(typeof tips)[number] | null>(
      (highest, each) => (highest === null || each.tip.sequence > highest.tip.sequence ? each : highest),
      null,
    );
    if (best === null) throw answers.flatMap((answer) => ('error' in answer && answer.error ? [answer.error] : []))[0]!;
    await compare(tips, signal);
    // What one of them still keeps can be had.
    return { ...best.tip, oldest: Math.min(...tips.map((each) => each.tip.oldest)) };
  }

  /** Each with the preferred one that answered, at the newest ledger that both have. */
  async function compare(tips: readonly { source: Source; tip: SourceTip }[], signal: AbortSignal): Promise<void> {
    const [one, ...others] = tips;
    if (one === undefined || others.length === 0 || clock() - comparedAt < COMPARE_INTERVAL_MS) return;
    let compared = true;
    for (const other of others) {
      const sequence = Math.min(one.tip.sequence, other.tip.sequence);
      if (sequence < Math.max(one.tip.oldest, other.tip.oldest)) continue;
      const [a, b] = [await hashOf(one, sequence, signal), await hashOf(other, sequence, signal)];
      if (a === null || b === null) compared = false;
      else if (a !== b) {
        throw new TrueUpError(
          'SOURCE_DIVERGED',
          `${one.source.id} has ledger ${sequence} as ${a.slice(0, 16)}, ${other.source.id} has it as ${b.slice(0, 16)}`,
          {
            fix: 'one of them serves another history: take it out of TRUEUP_SOURCE',
            range: { from: sequence, to: sequence + 1 },
          },
        );
      }
    }
    if (compared) comparedAt = clock();
  }

  return {
    kind: first.kind,
    id: first.id,
    networkPassphrase: first.networkPassphrase,
    layers: first.layers,
    proof: first.proof,
    maxSpanLedgers: Math.min(...able.map((source) => source.maxSpanLedgers)),
    tip,
    async header(sequence, signal): Promise<LedgerHeader> {
      return (await firstThatCan(signal, (source) => source.header(sequence, signal)))[0];
    },
    async read(request: ReadRequest, signal): Promise<LedgerBatch> {
      const [batch, source] = await firstThatCan(signal, (each) => each.read(request, signal));
      return { ...batch, source: source.id };
    },
    ...(first.openingBalances && { openingBalances: first.openingBalances.bind(first) }),
    members: () => able.map((each) => ({ source: each, active: each === active, failure: failures.get(each) ?? null })),
    async close() {
      for (const source of sources) await source.close();
    },
  };
}

/** Null where the source can't say now: then nothing was compared. */
async function hashOf(
  { source, tip }: { source: Source; tip: SourceTip },
  sequence: number,
  signal: AbortSignal,
): Promise<string | null> {
  if (tip.sequence === sequence) return tip.hash;
  try {
    return (await source.header(sequence, signal)).hash;
  } catch (error) {
    if (signal.aborted || !isTrueUpError(error, ...ELSEWHERE)) throw error;
    return null;
  }
}
