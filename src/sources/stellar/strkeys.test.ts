// Goal: raw bytes become the right text, or an error that says which ledger they were of.
// Method: keys that share a slot of the memory, and texts that are no XDR.
import { StrKey } from '@stellar/stellar-sdk/base';
import { describe, expect, it } from 'vitest';
import { accountId, claimableBalanceId, contractId, liquidityPoolId } from './strkeys.ts';
import { decodeEnvelope, decodeResult } from './wire.ts';

const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);

describe('keys as text', () => {
  it('stay right when two keys share a slot of the memory', () => {
    const one = Uint8Array.from(key(1));
    const two = Uint8Array.from(key(1));
    two[31] = 99;
    for (const encode of [accountId, contractId, liquidityPoolId, claimableBalanceId]) {
      const [first, second] = [encode(one), encode(two)];
      expect(first).not.toBe(second);
      expect([encode(one), encode(two), encode(one)]).toEqual([first, second, first]);
    }
    expect(accountId(one)).toBe(StrKey.encodeEd25519PublicKey(one));
    expect(claimableBalanceId(one)[0]).toBe('B');
  });
});

describe('bytes that are no XDR', () => {
  it('are a corrupt source that names the ledger, not an empty result', () => {
    for (const text of ['', 'AAAA', 'not base64 at all']) {
      expect(() => decodeEnvelope(text, 12)).toThrow(
        expect.objectContaining({
          reason: 'SOURCE_CORRUPT',
          details: expect.objectContaining({ range: { from: 12, to: 13 } }),
        }),
      );
      expect(() => decodeResult(text, 12)).toThrow(expect.objectContaining({ reason: 'SOURCE_CORRUPT' }));
    }
  });
});
