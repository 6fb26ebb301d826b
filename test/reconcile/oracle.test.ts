// Goal: no false accusation, and nothing missed. Method: made-up sides with known faults; a naive oracle, itself held to what each
// fault is due to be called, says what the engine must say of every key. A failure prints its seed and the sides.
import { describe, expect, it } from 'vitest';
import { patience } from '../_util/cases.ts';
import { proveEngine } from './oracle/proof.ts';

describe('the comparison', () => {
  it(
    'says of every key what the oracle says, whatever faults there are',
    async () => {
      const tried = await proveEngine(20_000);
      const { NIGHTLY_CASES: count } = process.env;
      if (count === undefined || Number(count) >= 20_000)
        for (const [name, times] of tried) expect(times, name).toBeGreaterThan(20);
    },
    patience(600_000),
  );
});
