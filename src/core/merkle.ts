// The hash tree of RFC 6962: its root, proofs that a leaf is in it, and proofs that one tree is the beginning of another.
//
// Only complete subtrees are ever stored, each once, for it never changes again. A node is named by its level (0: leaves) and its
// index from the left; everything else, roots and proofs, is made of O(log n) of them.
import { createHash } from 'node:crypto';

export type Hash = Buffer;

export interface NodeId {
  readonly level: number;
  readonly index: number;
}
export interface Node extends NodeId {
  readonly hash: Hash;
}
/** Leaves [from, to) of a tree. */
export interface LeafRange {
  readonly from: number;
  readonly to: number;
}
export type NodeReader = (node: NodeId) => Hash;

const LEAF_PREFIX = Buffer.from([0]);
const NODE_PREFIX = Buffer.from([1]);

export function leafHash(leaf: Uint8Array): Hash {
  return createHash('sha256').update(LEAF_PREFIX).update(leaf).digest();
}

export function nodeHash(left: Hash, right: Hash): Hash {
  return createHash('sha256').update(NODE_PREFIX).update(left).update(right).digest();
}

/** The root of a tree without leaves. */
export const EMPTY_ROOT: Hash = createHash('sha256').digest();

/** The right edge of a tree: what is needed to go on appending, and to know the root. */
export interface Edge {
  readonly size: number;
  /** Hashes of `edgeNodes(size)`, left to right. */
  readonly hashes: readonly Hash[];
}

export const EMPTY_EDGE: Edge = { size: 0, hashes: [] };

/** The complete subtrees of which a tree of this size consists, left to right. */
export function edgeNodes(size: number): NodeId[] {
  return completeNodes({ from: 0, to: size });
}

/** Appends leaf hashes in O(log n) each. @returns the new edge, and every subtree above the leaves that became complete */
export function appendLeaves(edge: Edge, leaves: readonly Hash[]): { edge: Edge; completed: Node[] } {
  const hashes = [...edge.hashes];
  const completed: Node[] = [];
  let { size } = edge;
  for (const leaf of leaves) {
    let hash = leaf;
    let index = size;
    for (let level = 1; index % 2 === 1; level++) {
      hash = nodeHash(hashes.pop()!, hash);
      index = (index - 1) / 2;
      completed.push({ level, index, hash });
    }
    hashes.push(hash);
    size++;
  }
  return { edge: { size, hashes }, completed };
}

export function rootOf(edge: Edge): Hash {
  return edge.hashes.length === 0 ? EMPTY_ROOT : foldRight(edge.hashes);
}

/** The ranges whose hashes prove that leaf `index` is in the tree of `size` leaves, from the leaf upwards. */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  const path = (from: number, to: number): LeafRange[] => {
    if (to - from === 1) return [];
    const middle = from + splitOf(to - from);
    return index < middle ? [...path(from, middle), { from: middle, to }] : [...path(middle, to), { from, to: middle }];
  };
  return path(0, size);
}

/** The ranges whose hashes prove that the tree of `before` leaves is the beginning of that of `size` leaves. */
export function consistencyRanges(before: number, size: number): LeafRange[] {
  const path = (from: number, to: number, whole: boolean): LeafRange[] => {
    if (before === to) return whole ? [] : [{ from, to }];
    const middle = from + splitOf(to - from);
    return before <= middle
      ? [...path(from, middle, whole), { from: middle, to }]
      : [...path(middle, to, false), { from, to: middle }];
  };
  return before === 0 || before === size ? [] : path(0, size, true);
}

/** The stored nodes of which a range of a proof consists. */
export function completeNodes({ from, to }: LeafRange): NodeId[] {
  const nodes: NodeId[] = [];
  for (let at = from; at < to;) {
    let level = 0;
    let width = 1;
    while (at % (width * 2) === 0 && at + width * 2 <= to) {
      level++;
      width *= 2;
    }
    nodes.push({ level, index: at / width });
    at += width;
  }
  return nodes;
}

export function rangeHash(range: LeafRange, read: NodeReader): Hash {
  return foldRight(completeNodes(range).map(read));
}

export interface InclusionClaim {
  readonly index: number;
  readonly size: number;
  readonly leaf: Hash;
  readonly root: Hash;
  readonly hashes: readonly Hash[];
}

/** RFC 9162, 2.1.3.2. */
export function verifyInclusion({ index, size, leaf, root, hashes }: InclusionClaim): boolean {
  if (!(index >= 0 && index < size)) return false;
  const ranges = inclusionRanges(index, size);
  if (ranges.length !== hashes.length) return false;
  const computed = ranges.reduce(
    (hash, range, i) => (range.from > index ? nodeHash(hash, hashes[i]!) : nodeHash(hashes[i]!, hash)),
    leaf,
  );
  return computed.equals(root);
}

export interface ConsistencyClaim {
  readonly before: number;
  readonly size: number;
  readonly beforeRoot: Hash;
  readonly root: Hash;
  readonly hashes: readonly Hash[];
}

/** RFC 9162, 2.1.4.2. */
export function verifyConsistency({ before, size, beforeRoot, root, hashes }: ConsistencyClaim): boolean {
  if (!(before >= 0 && before <= size)) return false;
  if (before === 0) return hashes.length === 0 && beforeRoot.equals(EMPTY_ROOT);
  if (before === size) return hashes.length === 0 && beforeRoot.equals(root);
  const ranges = consistencyRanges(before, size);
  if (ranges.length !== hashes.length) return false;
  // Where the old tree is itself a complete subtree, the proof leaves its root out, for the verifier has it.
  const startsWithOld = ranges[0]!.from >= before;
  let old = startsWithOld ? beforeRoot : hashes[0]!;
  let now = old;
  for (let i = startsWithOld ? 0 : 1; i < ranges.length; i++) {
    if (ranges[i]!.from >= before) {
      now = nodeHash(now, hashes[i]!);
    } else {
      old = nodeHash(hashes[i]!, old);
      now = nodeHash(hashes[i]!, now);
    }
  }
  return old.equals(beforeRoot) && now.equals(root);
}

/** The largest power of two below `count`, which is 2 or more. */
function splitOf(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

function foldRight(hashes: readonly Hash[]): Hash {
  return hashes.reduceRight((right, left) => nodeHash(left, right));
}
