// A source of batches of drifts that counts how often it was asked, and knows whether it was let go of.
import { expect } from 'vitest';
import type { DriftPort } from '../../src/rpc/ports.ts';
import { sampleDrift } from './drift-samples.ts';
import { eventually } from './eventually.ts';

export const DRIFTS_PER_BATCH = 4;

export interface DriftSource {
  readonly port: Partial<DriftPort>;
  asked(): number;
  returned(): boolean;
  /** Resolves once it was asked for something and is asked for nothing more. */
  standsStill(): Promise<void>;
}

export function driftSource(batches: number): DriftSource {
  const drifts = Array.from({ length: DRIFTS_PER_BATCH }, (_, index) => sampleDrift(index));
  let asked = 0;
  let returned = false;
  return {
    asked: () => asked,
    returned: () => returned,
    async standsStill() {
      let last = -1;
      await eventually(() => {
        const now = asked;
        const moved = now !== last;
        last = now;
        expect([now > 0, moved]).toEqual([true, false]);
      });
    },
    port: {
      async *stream(_filter, after) {
        try {
          for (let batch = after === null ? 0 : Number(after['batch']); batch < batches; batch++) {
            asked++;
            yield { items: drifts, position: { batch: batch + 1 } };
          }
        } finally {
          returned = true;
        }
      },
    },
  };
}
