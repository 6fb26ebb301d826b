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
/** Longest text that is written without another buffer, with room for the block that it ends in. */
const SCRATCH_BYTES = 4096;
const MAX_BYTES_PER_UNIT = 3;
const MS_2000 = 946_684_800_000n;

/** A value as the bytes that PostgreSQL hashes of it; written over by the next one. */
export class PgValue {
  bytes = new Uint8Array(SCRATCH_BYTES);
  words = new Int32Array(this.bytes.buffer);
  length = 0;
  /** Of a number: the power of 10,000 of its first digits; null: no number. */
  weight: number | null = null;

  /** hashtextextended(text collate "C", ...) */
  text(text: string): void {
    this.weight = null;
    this.#reserve(text.length * MAX_BYTES_PER_UNIT);
    const { bytes } = this;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= ASCII_END) return this.#end(Buffer.from(bytes.buffer).write(text));
      bytes[i] = unit;
    }
    this.#end(text.length);
  }

  /** hash_numeric_extended; a decimal number without exponent, as formatAmount gives it. */
  number(text: string): void {
    const start = text.startsWith('-') ? 1 : 0;
    const point = text.indexOf('.');
    const whole = (point < 0 ? text.length : point) - start;
    const decimals = point < 0 ? 0 : text.length - point - 1;
    this.#reserve(text.length);
    // Groups lie around the point: the first may be short, and so may the last.
    const groups = Math.ceil(whole / GROUP_DIGITS);
    const total = groups + Math.ceil(decimals / GROUP_DIGITS);
    let [place, first, end] = [whole - groups * GROUP_DIGITS, -1, 0];
    for (let group = 0; group < total; group++) {
      let value = 0;
      for (let i = 0; i < GROUP_DIGITS; i++, place++) {
        const isDigit = place >= 0 && place < whole + decimals;
        const digit = isDigit ? text.charCodeAt(start + place + (place < whole ? 0 : 1)) - ZERO : 0;
        value = value * 10 + digit;
      }
      if (first < 0 && value === 0) continue;
      if (first < 0) first = group;
      const at = 2 * (group - first);
      this.bytes[at] = value & 0xff;
      this.bytes[at + 1] = value >> 8;
      if (value !== 0) end = at + 2;
    }
    this.weight = groups - 1 - first;
    this.#end(end);
  }

  /** timestamp_hash_extended, of a moment in UTC. */
  time(ms: number): void {
    const micros = (BigInt(ms) - MS_2000) * 1000n;
    const [high, low] = [Number(BigInt.asIntN(32, micros >> 32n)), Number(BigInt.asIntN(32, micros))];
    this.integer(low ^ (micros >= 0n ? high : ~high));
  }

  /** hashint4extended */
  integer(value: number): void {
    this.weight = null;
    this.words[0] = value;
    this.#end(WORD_BYTES);
  }

  /** Words are read to the end of a block; what lies there is none of the value. */
  #end(length: number): void {
    this.length = length;
    const end = length - (length % BLOCK_BYTES) + BLOCK_BYTES;
    for (let at = length; at < end; at++) this.bytes[at] = 0;
  }

  #reserve(bytes: number): void {
    if (bytes + BLOCK_BYTES <= this.bytes.length) return;
    this.bytes = new Uint8Array(Math.ceil((bytes + BLOCK_BYTES) / SCRATCH_BYTES) * SCRATCH_BYTES);
    this.words = new Int32Array(this.bytes.buffer);
  }
}

/** A 64-bit number that starts as a seed; each value is hashed with what it is so far as the seed. */
export class PgHash {
  high = 0;
  low = 0;

  set(high: number, low: number): void {
    this.high = high;
    this.low = low;
  }

  add({ words, length, weight }: PgValue): void {
    if (weight !== null && length === 0) return this.#minusOne();
    let a = (START + length) | 0;
    let b = a;
    let c = a;
    const blocks = 3 * Math.floor(length / BLOCK_BYTES);
    // A seed of zero is none, any other a block before the first.
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
    a = (a + words[blocks]!) | 0;
    b = (b + words[blocks + 1]!) | 0;
    // The lowest byte of the last word is the length's, so its own bytes move up.
    c = (c + (words[blocks + 2]! << 8)) | 0;
    c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
    a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
    b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
    c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
    a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
    b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
    c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
    this.high = weight === null ? b : b ^ (weight >> 31);
    this.low = weight === null ? c : c ^ weight;
  }

  /** What stands for zero. */
  #minusOne(): void {
    if (this.low === 0) this.high = (this.high - 1) | 0;
    this.low = (this.low - 1) | 0;
  }
}
