// Raw keys as the text people know (G..., C..., B..., L...), remembered, because a ledger names few accounts often.
import { StrKey } from '@stellar/stellar-sdk/base';

/** Per kind of key. A full memory is emptied, not trimmed: it refills from the accounts now in use within a few ledgers. */
const maxRememberedKeys = 65_536;

export const accountId = remember((raw) => StrKey.encodeEd25519PublicKey(raw));
export const contractId = remember((raw) => StrKey.encodeContract(raw));
export const liquidityPoolId = remember((raw) => StrKey.encodeLiquidityPool(raw));

/** B...: the strkey carries the balance id's version (one byte, 0) before its hash. */
export const claimableBalanceId = remember((hash) => {
  const raw = Buffer.alloc(hash.length + 1);
  raw.set(hash, 1);
  return StrKey.encodeClaimableBalance(raw);
});

function remember(encode: (raw: Buffer) => string): (raw: Uint8Array) => string {
  const known = new Map<string, string>();
  return (raw) => {
    const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    const key = bytes.toString('latin1');
    const found = known.get(key);
    if (found !== undefined) return found;
    if (known.size >= maxRememberedKeys) known.clear();
    const text = encode(bytes);
    known.set(key, text);
    return text;
  };
}
