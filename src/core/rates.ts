// How fast a counter grows, from samples taken at whatever moments it was looked at.

export interface CounterSample {
  readonly atMs: number;
  readonly count: bigint;
}

/** A sample may be this much older or younger than the span asked for, as a share of it. */
const TOLERANCE = 0.5;

/**
 * Growth per second over about the last `spanMs`; null where no kept sample is near that age, as before there was anything
 * to measure. Samples are in order of time.
 */
export function rateOver(samples: readonly CounterSample[], spanMs: number): number | null {
  const now = samples.at(-1);
  if (now === undefined) return null;
  let best: CounterSample | null = null;
  for (const sample of samples) {
    const age = now.atMs - sample.atMs;
    if (age < spanMs * (1 - TOLERANCE) || age > spanMs * (1 + TOLERANCE) || sample.count > now.count) continue;
    if (best === null || Math.abs(age - spanMs) < Math.abs(now.atMs - best.atMs - spanMs)) best = sample;
  }
  return best === null ? null : Number(now.count - best.count) / ((now.atMs - best.atMs) / 1000);
}

/** The samples with a new one, without what is older than `keepMs`; one a `gapMs` at most. */
export function keepSamples(
  samples: readonly CounterSample[],
  sample: CounterSample,
  keepMs: number,
  gapMs: number,
): CounterSample[] {
  const kept = samples.filter((each) => each.atMs >= sample.atMs - keepMs && each.atMs < sample.atMs);
  const [last, before] = [kept.at(-1), kept.at(-2)];
  // The newest one is replaced as long as it is close to the one before it, so that the newest is always now.
  if (last && before && last.atMs - before.atMs < gapMs) kept.pop();
  return [...kept, sample];
}
