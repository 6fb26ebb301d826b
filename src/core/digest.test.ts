// Goal: a digest that changes whenever the set of entries does. Method: mutate, swap, split, duplicate.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { addDigests, canonicalEntry, digestEntries, equalDigests } from './digest.ts';
import type { Entry } from './entry.ts';

const entry = fc.record<Entry>({
  ledger: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  txIndex: fc.nat(1000),
  opIndex: fc.nat(100),
  leg: fc.nat(3),
  layer: fc.constant('operations'),
  txHash: fc.constantFrom('ab'.repeat(32), null),
  account: fc.string({ minLength: 1, maxLength: 8 }),
  asset: fc.constantFrom('native', 'USD:G'),
  amount: fc.bigInt({ min: -(1n << 127n), max: (1n << 127n) - 1n }),
  kind: fc.constantFrom('payment', 'fee'),
  counterparty: fc.option(fc.string({ maxLength: 8 }), { nil: null }),
  status: fc.constantFrom('success', 'failed'),
  resultCode: fc.constantFrom(null, 'op_underfunded'),
  subAccount: fc.option(fc.string({ maxLength: 8 }), { nil: null }),
  subAccountType: fc.constantFrom(null, 'memo_text'),
});

describe('digest of entries', () => {
  it("doesn't depend on order or on where a chunk is split", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 30 }), fc.nat(30), (entries, at) => {
        const whole = digestEntries(entries);
        expect(digestEntries([...entries].reverse())).toEqual(whole);
        expect(addDigests(digestEntries(entries.slice(0, at)), digestEntries(entries.slice(at)))).toEqual(whole);
      }),
    );
  });

  it('sees a swap of two amounts, which a linear hash does not', () => {
    fc.assert(
      fc.property(entry, entry, (a, b) => {
        fc.pre(a.amount !== b.amount && JSON.stringify({ ...a, amount: 0 }) !== JSON.stringify({ ...b, amount: 0 }));
        const swapped = [
          { ...a, amount: b.amount },
          { ...b, amount: a.amount },
        ];
        expect(equalDigests(digestEntries([a, b]), digestEntries(swapped))).toBe(false);
      }),
      cases(1000),
    );
  });

  it('adds the first two words of 64 bits of each SHA-256, as PostgreSQL would', () => {
    fc.assert(
      fc.property(entry, (a) => {
        const bytes = createHash('sha256').update(canonicalEntry(a)).digest();
        expect(digestEntries([a])).toEqual({
          count: 1,
          sum1: bytes.readBigUInt64BE(0),
          sum2: bytes.readBigUInt64BE(8),
        });
      }),
    );
  });

  it('sees a row twice, where XOR would see none', () => {
    fc.assert(fc.property(entry, (a) => !equalDigests(digestEntries([a, a]), digestEntries([]))));
  });

  it('keeps neighbouring fields apart', () => {
    const base = { ...fc.sample(entry, { numRuns: 1, seed: 1 })[0]!, counterparty: 'ab', resultCode: null };
    const moved = { ...base, account: `${base.account}2:ab` };
    expect(equalDigests(digestEntries([base]), digestEntries([moved]))).toBe(false);
  });
});
