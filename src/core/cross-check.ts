// Two providers of one ledger, compared header by header.
import { TrueUpError } from './errors.ts';
import type { LedgerHeader } from './ledger.ts';

const COMPARED = ['hash', 'prevHash', 'closeTime'] as const;

export interface HeaderConflict {
  readonly sequence: number;
  /** What differs; since a hash covers the whole header, `hash` alone means that anything inside it does. */
  readonly fields: readonly (typeof COMPARED)[number][];
  readonly a: LedgerHeader;
  readonly b: LedgerHeader;
}

/** Sequences, ascending. Every ledger of either side is in exactly one of the four lists. */
export interface HeaderComparison {
  readonly equal: readonly number[];
  readonly onlyInA: readonly number[];
  readonly onlyInB: readonly number[];
  readonly conflicts: readonly HeaderConflict[];
}

/**
 * Compares what two providers say of the same network, in whatever order they say it. Give it headers whose hash was computed
 * from their bytes, not one that was merely stated.
 *
 * @throws TrueUpError INVALID_REQUEST where one side names a ledger twice with different contents
 */
export function compareHeaders(a: readonly LedgerHeader[], b: readonly LedgerHeader[]): HeaderComparison {
  const inA = bySequence(a);
  const inB = bySequence(b);
  const equal: number[] = [];
  const conflicts: HeaderConflict[] = [];
  for (const [sequence, one] of inA) {
    const other = inB.get(sequence);
    if (other === undefined) continue;
    const fields = differing(one, other);
    if (fields.length === 0) equal.push(sequence);
    else conflicts.push({ sequence, fields, a: one, b: other });
  }
  return {
    equal: equal.sort(ascending),
    onlyInA: [...inA.keys()].filter((sequence) => !inB.has(sequence)).sort(ascending),
    onlyInB: [...inB.keys()].filter((sequence) => !inA.has(sequence)).sort(ascending),
    conflicts: conflicts.sort((x, y) => x.sequence - y.sequence),
  };
}

function bySequence(headers: readonly LedgerHeader[]): Map<number, LedgerHeader> {
  const found = new Map<number, LedgerHeader>();
  for (const header of headers) {
    const known = found.get(header.sequence);
    if (known !== undefined && differing(known, header).length > 0) {
      throw new TrueUpError(
        'INVALID_REQUEST',
        `ledger ${header.sequence} is given twice with different contents by one side`,
      );
    }
    found.set(header.sequence, header);
  }
  return found;
}

function differing(a: LedgerHeader, b: LedgerHeader): HeaderConflict['fields'] {
  return COMPARED.filter((field) => a[field] !== b[field]);
}

function ascending(a: number, b: number): number {
  return a - b;
}
