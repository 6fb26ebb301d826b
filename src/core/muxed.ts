// Muxed addresses (M...): a G... account with a 64-bit id inside. Strkey per SEP-23.
import { ACCOUNT_PATTERN } from './asset.ts';

const MUXED_PATTERN = /^M[A-Z2-7]{68}$/;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const ACCOUNT_VERSION = 6 << 3;
const MUXED_VERSION = 12 << 3;

export interface SplitAddress {
  /** G.... */
  readonly account: string;
  /** The muxed id as a decimal string: it may pass 2^53. */
  readonly muxedId: string;
}

/** Splits M... into its account and id; null where the text is no muxed address or its checksum is wrong. */
export function splitMuxedAddress(text: string): SplitAddress | null {
  if (!MUXED_PATTERN.test(text)) return null;
  const bytes = decodeBase32(text);
  const body = bytes.subarray(0, 41);
  if (bytes[0] !== MUXED_VERSION || crc16(body) !== bytes[41]! + bytes[42]! * 256) return null;
  const id = new DataView(body.buffer, body.byteOffset).getBigUint64(33);
  return { account: encodeAccount(body.subarray(1, 33)), muxedId: id.toString() };
}

function encodeAccount(key: Uint8Array): string {
  const bytes = new Uint8Array(35);
  bytes[0] = ACCOUNT_VERSION;
  bytes.set(key, 1);
  const checksum = crc16(bytes.subarray(0, 33));
  bytes[33] = checksum & 0xff;
  bytes[34] = checksum >> 8;
  const text = encodeBase32(bytes);
  if (!ACCOUNT_PATTERN.test(text)) throw new RangeError('a strkey of 35 bytes is 56 characters');
  return text;
}

function decodeBase32(text: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8));
  let value = 0;
  let bits = 0;
  let at = 0;
  for (const character of text) {
    value = ((value << 5) | ALPHABET.indexOf(character)) & 0xffff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (value >> bits) & 0xff;
    }
  }
  return bytes;
}

function encodeBase32(bytes: Uint8Array): string {
  let text = '';
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
    }
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text;
}

/** CRC-16/XMODEM, as strkey uses it. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc & 0x8000) !== 0 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc;
}
