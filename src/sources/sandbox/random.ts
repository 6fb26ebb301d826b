// Numbers that look random and are always the same: one generator per ledger, seeded by a hash.
import { hash } from 'node:crypto';

export interface Random {
  /** An integer from 0 (in) to `limit` (out), `limit` at most 2^32. */
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
}

/** sfc32, seeded with 128 bits of SHA-256(text). Good enough to imitate traffic; never for secrets. */
export function randomFrom(text: string): Random {
  const seed = hash('sha256', text, 'buffer');
  let a = seed.readInt32LE(0);
  let b = seed.readInt32LE(4);
  let c = seed.readInt32LE(8);
  let counter = seed.readInt32LE(12);
  const next = (): number => {
    const out = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + out) | 0;
    return out >>> 0;
  };
  const below = (limit: number): number => Math.floor((next() / 4_294_967_296) * limit);
  return { below, pick: (items) => items[below(items.length)]! };
}
