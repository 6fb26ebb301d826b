// How many cases a random test tries, and from which seed: few in every run of the tests, many at night.

/** For fast-check's parameters: `cases(200)` is 200 runs unless the nightly script says otherwise. */
export function cases(numRuns: number): { numRuns: number; seed?: number } {
  const { NIGHTLY_CASES: count, NIGHTLY_SEED: seed } = process.env;
  return { numRuns: count === undefined ? numRuns : Number(count), ...(seed !== undefined && { seed: Number(seed) }) };
}

/** Longest time of a random test, milliseconds: as given in every run of the tests, a night's in the nightly script. */
export function patience(ms: number): number {
  return process.env['NIGHTLY_CASES'] === undefined ? ms : 4 * 3_600_000;
}
