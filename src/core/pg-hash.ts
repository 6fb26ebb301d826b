// The hashes that PostgreSQL computes for the expressions of row-hash.ts, computed here: a side that no server holds is compared with
// one that a server does, by digests of both.
//
// Bob Jenkins' lookup3 as PostgreSQL has it in hashfn.c, on machines whose lowest byte comes first; on others the two differ, and
// then everything seems to differ: slow, never wrong. 64 bits are two 32-bit halves, which the machine adds up in one step where
// a bigint takes a dozen.

const START = 0x9e3779b9 + 3923095;
const BLOCK_BYTES = 12;
const WORD_BYTES = 4;
/** Digits that PostgreSQL keeps of a number in one. */
const GROUP_DIGITS = 4;
const ZERO = 0x30;
const ASCII_END = 0x80;
/** Longest text that is hashed without another buffer; a book's columns are shorter. */
const SCRATCH_BYTES = 4096;
const MS_2000 = 946_684_800_000n;

/** A 64-bit number that starts as the seed and is hashed on, value by value: each with the hash so far as its seed. */
export class PgHash {
  high = 0;
  low = 0;
  #bytes = new Uint8Array(SCRATCH_BYTES);
  #words = new Int32Array(this.#bytes.buffer);

  seed(value: bigint): void {
    this.low = Number(BigInt.asIntN(32, value));
    this.high = Number(BigInt.asIntN(32, value >> 32n));
  }

  /** hashtextextended(text collate "C", ...) */
  text(text: string): void {
    this.#hashBytes(this.#write(text));
  }

  /** hash_numeric_extended; a decimal number without exponent, as formatAmount gives it. */
  number(text: string): void {
    const start = text.startsWith('-') ? 1 : 0;
    const point = text.indexOf('.');
    const whole = (point < 0 ? text.length : point) - start;
    // Groups lie around the point: the first may be short, and so may the last.
    const groups = Math.ceil(whole / GROUP_DIGITS);
    const decimals = point < 0 ? 0 : text.length - point - 1;
    const digitAt = (place: number): number => {
      if (place < 0 || place >= whole + decimals) return 0;
      return text.charCodeAt(start + place + (place < whole ? 0 : 1)) - ZERO;
    };
    const shift = whole - groups * GROUP_DIGITS;
    const [total, bytes] = [groups + Math.ceil(decimals / GROUP_DIGITS), this.#bytes];
    let [first, end] = [-1, 0];
    for (let group = 0; group < total; group++) {
      const at = shift + group * GROUP_DIGITS;
      const value = digitAt(at) * 1000 + digitAt(at + 1) * 100 + digitAt(at + 2) * 10 + digitAt(at + 3);
      if (first < 0 && value === 0) continue;
      if (first < 0) first = group;
      const place = 2 * (group - first);
      [bytes[place], bytes[place + 1]] = [value & 0xff, value >> 8];
      if (value !== 0) end = place + 2;
    }
    if (first < 0) return this.#minusOne();
    this.#hashBytes(end);
    const weight = groups - 1 - first;
    this.low ^= weight;
    this.high ^= weight >> 31;
  }

  /** timestamp_hash_extended, of a moment in UTC. */
  time(ms: number): void {
    const micros = (BigInt(ms) - MS_2000) * 1000n;
    const [high, low] = [Number(BigInt.asIntN(32, micros >> 32n)), Number(BigInt.asIntN(32, micros))];
    this.integer(low ^ (micros >= 0n ? high : ~high));
  }

  /** hashint4extended */
  integer(value: number): void {
    this.#mix(WORD_BYTES, 0, value, 0, 0);
  }

  /** Bytes of the text, now in the scratch. */
  #write(text: string): number {
    if (text.length * 3 > this.#bytes.length) {
      this.#bytes = new Uint8Array(Math.ceil((text.length * 3) / SCRATCH_BYTES) * SCRATCH_BYTES);
      this.#words = new Int32Array(this.#bytes.buffer);
    }
    const bytes = this.#bytes;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= ASCII_END) return Buffer.from(bytes.buffer).write(text);
      bytes[i] = unit;
    }
    return text.length;
  }

  #hashBytes(length: number): void {
    const bytes = this.#bytes;
    const whole = Math.floor(length / BLOCK_BYTES) * BLOCK_BYTES;
    // Words are read past the end of the text; what lies there is none of it.
    bytes.fill(0, length, whole + BLOCK_BYTES);
    const words = this.#words;
    const at = whole / WORD_BYTES;
    // The lowest byte of the last word is the length's, so that its own bytes move up.
    this.#mix(length, at, words[at]!, words[at + 1]!, words[at + 2]! << 8);
  }

  /** All words before `blocks`, then the three last. */
  #mix(length: number, blocks: number, lastA: number, lastB: number, lastC: number): void {
    const words = this.#words;
    let a = (START + length) | 0;
    let b = a;
    let c = a;
    // A seed of zero is none.
    let isSeed = (this.high | this.low) !== 0;
    for (let at = isSeed ? -3 : 0; at < blocks; at += 3) {
      a = (a + (isSeed ? this.high : words[at]!)) | 0;
      b = (b + (isSeed ? this.low : words[at + 1]!)) | 0;
      c = (c + (isSeed ? 0 : words[at + 2]!)) | 0;
      isSeed = false;
      a = ((a - c) ^ ((c << 4) | (c >>> 28))) | 0;
      c = (c + b) | 0;
      b = ((b - a) ^ ((a << 6) | (a >>> 26))) | 0;
      a = (a + c) | 0;
      c = ((c - b) ^ ((b << 8) | (b >>> 24))) | 0;
      b = (b + a) | 0;
      a = ((a - c) ^ ((c << 16) | (c >>> 16))) | 0;
      c = (c + b) | 0;
      b = ((b - a) ^ ((a << 19) | (a >>> 13))) | 0;
      a = (a + c) | 0;
      c = ((c - b) ^ ((b << 4) | (b >>> 28))) | 0;
      b = (b + a) | 0;
    }
    a = (a + lastA) | 0;
    b = (b + lastB) | 0;
    c = (c + lastC) | 0;
    c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
    a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
    b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
    c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
    a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
    b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
    c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
    [this.high, this.low] = [b, c];
  }

  /** What stands for zero. */
  #minusOne(): void {
    if (this.low === 0) this.high = (this.high - 1) | 0;
    this.low = (this.low - 1) | 0;
  }
}
