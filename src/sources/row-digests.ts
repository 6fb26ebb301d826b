// Digests of rows that no server holds, the same as a server's of the same rows; see core/row-hash.ts.
import { assetScale } from '../core/asset.ts';
import type { BookRow } from '../core/book.ts';
import type { Digest } from '../core/digest.ts';
import { formatAmount } from '../core/money.ts';
import { PgHash, PgValue } from '../core/pg-hash.ts';
import { nullMark, negativeMark, type HashSeeds } from '../core/row-hash.ts';
import { SEGMENTS, type SegmentDigests, type Sketch } from '../core/segments.ts';
import type { RowChoice } from './side-digest.ts';

/** Bits of the upper half of a key's hash that don't say in which segment it lies. */
const SEGMENT_SHIFT = 22;
const HALF = 2 ** 32;

/** What a row says, without what nobody hashes. */
export type HashedRow = Pick<
  BookRow,
  'key' | 'account' | 'asset' | 'amount' | 'kind' | 'counterparty' | 'status' | 'subAccount' | 'occurredAt'
>;

export interface RowHasherOptions {
  readonly seeds: HashSeeds;
  /** Stands for a row that has to be read; see DigestQuery. */
  readonly mark: bigint;
  /** What is hashed, in this order. */
  readonly columns: readonly string[];
  /** What is compared though the other side doesn't have it: a row that fills one of them has to be read. */
  readonly unhashed: readonly string[];
}

/** Hashes rows; what it says is true until the next one. */
export class RowHasher {
  /** Which range of the key's hash the row lies in. */
  segment = 0;
  /** Lower half of the key's hash. */
  keyLow = 0;
  /** The row's hash under either seed. */
  readonly first = new PgHash();
  readonly second = new PgHash();
  readonly #columns: readonly Column[];
  readonly #unhashed: readonly Column[];
  readonly #seeds: readonly (readonly [high: number, low: number])[];
  readonly #keyHash = new PgHash();
  readonly #value = new PgValue();

  constructor({ seeds, mark, columns, unhashed }: RowHasherOptions) {
    this.#columns = columns.map(columnOf);
    this.#unhashed = unhashed.map(columnOf);
    this.#seeds = [seeds.key, seeds.first, seeds.second, mark].map((seed) => [
      Number(BigInt.asIntN(32, seed >> 32n)),
      Number(BigInt.asIntN(32, seed)),
    ]);
  }

  key(key: string): void {
    this.#value.text(key);
    this.#keyHash.set(...this.#seeds[0]!);
    this.#keyHash.add(this.#value);
    this.segment = this.#keyHash.high >>> SEGMENT_SHIFT;
    this.keyLow = this.#keyHash.low;
  }

  row(row: HashedRow): void {
    this.key(row.key);
    const { first, second } = this;
    first.set(...this.#seeds[1]!);
    second.set(...this.#seeds[2]!);
    this.#addValue();
    let marks = 0;
    let isWhole = true;
    for (const column of this.#unhashed) isWhole &&= column.isNull(row);
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i]!;
      if (column.isNull(row)) marks += nullMark(i);
      else if (column.isAmount && row.amount < 0n) marks += negativeMark(i);
      isWhole &&= column.write(row, this.#value);
      this.#addValue();
    }
    this.#value.integer(marks);
    this.#addValue();
    if (isWhole) return;
    first.set(...this.#seeds[3]!);
    second.set(...this.#seeds[3]!);
  }

  #addValue(): void {
    this.first.add(this.#value);
    this.second.add(this.#value);
  }
}

/** Counts and sums of each segment, as the rows come. */
export class SegmentSums {
  readonly #rows = new Uint32Array(SEGMENTS);
  /** Four words a segment: upper and lower half of both sums, which wrap around as 64-bit numbers do. */
  readonly #words = new Uint32Array(4 * SEGMENTS);

  add({ segment, first, second }: RowHasher): void {
    this.#rows[segment]!++;
    this.#addHalves(4 * segment, first);
    this.#addHalves(4 * segment + 2, second);
  }

  digests(): SegmentDigests {
    const digests = new Map<number, Digest>();
    const sum = (at: number): bigint => (BigInt(this.#words[at]!) << 32n) | BigInt(this.#words[at + 1]!);
    for (const [segment, count] of this.#rows.entries())
      if (count > 0) digests.set(segment, { count, sum1: sum(4 * segment), sum2: sum(4 * segment + 2) });
    return digests;
  }

  #addHalves(at: number, { high, low }: { readonly high: number; readonly low: number }): void {
    const sum = this.#words[at + 1]! + (low >>> 0);
    this.#words[at + 1] = sum;
    this.#words[at]! += high + (sum >= HALF ? 1 : 0);
  }
}

export function addToSketch(hasher: RowHasher, into: Sketch, side: 'left' | 'right'): void {
  into.add(side, hasher.keyLow & (2 ** into.bits - 1), hasher.first.high, hasher.first.low);
}

/** Whether the key that was hashed last is one of those to read. */
export function isChosen(
  { segment, keyLow }: RowHasher,
  segments: ReadonlySet<number> | null,
  choice: RowChoice,
): boolean {
  if (segments !== null && !segments.has(segment)) return false;
  if (choice.buckets === null) return true;
  const { bits, bitmap } = choice.buckets;
  const bucket = keyLow & (2 ** bits - 1);
  return (bitmap[bucket >> 3]! & (1 << (bucket & 7))) !== 0;
}

/** One column of a row as it is hashed. */
interface Column {
  readonly isAmount: boolean;
  /** The row says nothing of it. */
  readonly isNull: (row: HashedRow) => boolean;
  /** False where it can't be hashed as a server would. */
  readonly write: (row: HashedRow, into: PgValue) => boolean;
}

function columnOf(name: string): Column {
  const column = COLUMNS[name];
  if (column === undefined) throw new RangeError(`no column ${name} is hashed`);
  return column;
}

const COLUMNS: Readonly<Record<string, Column>> = {
  account: text((row) => row.account),
  asset: text((row) => row.asset),
  amount: amount(({ amount: minor, asset }) => {
    const scale = assetScale(asset);
    return scale === undefined ? null : formatAmount(minor, scale);
  }),
  amount_minor: amount((row) => String(row.amount)),
  kind: text((row) => row.kind),
  counterparty: text((row) => row.counterparty),
  status: text((row) => row.status),
  sub_account: text((row) => row.subAccount),
  occurred_at: {
    isAmount: false,
    isNull: (row) => row.occurredAt === null,
    write(row, into) {
      into.time(row.occurredAt?.getTime() ?? 0);
      return true;
    },
  },
};

function text(of: (row: HashedRow) => string | null): Column {
  return {
    isAmount: false,
    isNull: (row) => of(row) === null,
    write(row, into) {
      into.text(of(row) ?? '');
      return true;
    },
  };
}

/** Null: the asset's decimals aren't known. */
function amount(textOf: (row: HashedRow) => string | null): Column {
  return {
    isAmount: true,
    isNull: () => false,
    write(row, into) {
      const digits = textOf(row);
      if (digits !== null) into.number(digits);
      return digits !== null;
    },
  };
}
