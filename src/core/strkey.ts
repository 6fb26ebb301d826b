// Stellar's ids carry a version byte and a checksum, so a mistyped id is refused before anything is watched or read.

export type StrkeyKind = 'account' | 'contract' | 'muxed';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const KINDS: Readonly<Record<StrkeyKind, { readonly version: number; readonly characters: number }>> = {
  account: { version: 6 << 3, characters: 56 }, // G...
  contract: { version: 2 << 3, characters: 56 }, // C...
  muxed: { version: 12 << 3, characters: 69 }, // M...
};

/** True when the text is a well-formed id of that kind: right length, right version byte, right CRC-16. */
export function isStrkey(kind: StrkeyKind, text: string): boolean {
  const { version, characters } = KINDS[kind];
  if (text.length !== characters) return false;
  const bytes = decodeBase32(text);
  if (bytes === undefined || bytes[0] !== version) return false;
  const payload = bytes.subarray(0, -2);
  return (bytes.at(-2)! | (bytes.at(-1)! << 8)) === crc16(payload);
}

/** RFC 4648 without padding; undefined for a foreign character or leftover bits that are set. */
function decodeBase32(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  let bits = 0;
  let buffer = 0;
  let at = 0;
  for (const character of text) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) return undefined;
    buffer = (buffer << 5) | value;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (buffer >> bits) & 0xff;
      buffer &= (1 << bits) - 1;
    }
  }
  return buffer === 0 ? bytes : undefined;
}

/** CRC-16/XMODEM, as SEP-23 asks. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
