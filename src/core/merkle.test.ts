// Goal: the tree is RFC 6962's, whatever its size, and its proofs prove nothing else. Method: the vectors of Certificate
// Transparency's own tests; the RFC's recursive definitions, written down plainly, beside ours for every size up to 130; damage.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import {
  appendLeaves,
  consistencyRanges,
  type Edge,
  edgeNodes,
  EMPTY_EDGE,
  type Hash,
  inclusionRanges,
  leafHash,
  type LeafRange,
  nodeHash,
  type NodeId,
  rangeHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts';

// The eight leaves of certificate-transparency's merkle_tree_test, and the roots of the trees of the first n of them.
const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

const tree = (count: number) => {
  const leaves = Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));
  const nodes = new Map<string, Hash>(leaves.map((hash, index) => [`0/${index}`, hash]));
  let edge: Edge = EMPTY_EDGE;
  for (const leaf of leaves) {
    const appended = appendLeaves(edge, [leaf]);
    edge = appended.edge;
    for (const { level, index, hash } of appended.completed) nodes.set(`${level}/${index}`, hash);
  }
  const read = ({ level, index }: NodeId): Hash => nodes.get(`${level}/${index}`)!;
  return { leaves, edge, read, hashes: (ranges: LeafRange[]) => ranges.map((range) => rangeHash(range, read)) };
};

/** RFC 6962, 2.1, as it stands there. */
function plainRoot(leaves: readonly Hash[]): Hash {
  if (leaves.length === 0) return createHash('sha256').digest();
  if (leaves.length === 1) return leaves[0]!;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(plainRoot(leaves.slice(0, k)), plainRoot(leaves.slice(k)));
}

describe('RFC 6962', () => {
  it.each(ROOTS.map((root, i) => [i + 1, root] as const))('gives the root of the first %i vectors', (count, root) => {
    const leaves = LEAVES.slice(0, count).map((hex) => leafHash(Buffer.from(hex, 'hex')));
    expect(rootOf(appendLeaves(EMPTY_EDGE, leaves).edge).toString('hex')).toBe(root);
  });

  it('gives the hash of the empty string for no leaves', () => {
    expect(rootOf(EMPTY_EDGE).toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  });

  // certificate-transparency: path of leaf 0 of 8, leaf 5 of 8, leaf 2 of 3, leaf 1 of 5.
  it.each([
    [0, 8, ['96a296d2', '5f083f0a', '6b47aaf2']],
    [5, 8, ['bc1a0643', 'ca854ea1', 'd37ee418']],
    [2, 3, ['fac54203']],
    [1, 5, ['6e340b9c', '5f083f0a', 'bc1a0643']],
  ])('gives the inclusion path of leaf %i of %i', (index, size, path) => {
    const leaves = LEAVES.slice(0, size).map((hex) => leafHash(Buffer.from(hex, 'hex')));
    const hashes = inclusionRanges(index, size).map(({ from, to }) => plainRoot(leaves.slice(from, to)));
    expect(hashes.map((hash) => hash.toString('hex').slice(0, 8))).toEqual(path);
  });
});

describe('a tree of any size', () => {
  it('has the root of the plain definition, and an edge of few nodes', () => {
    for (let size = 0; size <= 130; size++) {
      const { leaves, edge, read } = tree(size);
      expect(rootOf(edge)).toEqual(plainRoot(leaves));
      expect(edge.hashes).toEqual(edgeNodes(size).map(read));
    }
  });

  it('proves each leaf, and each earlier tree', () => {
    for (let size = 1; size <= 70; size++) {
      const { leaves, edge, hashes } = tree(size);
      const root = rootOf(edge);
      for (let index = 0; index < size; index++) {
        const claim = { index, size, leaf: leaves[index]!, root, hashes: hashes(inclusionRanges(index, size)) };
        expect(verifyInclusion(claim)).toBe(true);
      }
      for (let before = 0; before <= size; before++) {
        const proof = hashes(consistencyRanges(before, size));
        const beforeRoot = plainRoot(leaves.slice(0, before));
        expect(verifyConsistency({ before, size, beforeRoot, root, hashes: proof }), `${before} of ${size}`).toBe(true);
      }
    }
  });

  it('proves nothing with a hash, an index or a size that is another', () => {
    const arbitrary = fc.integer({ min: 2, max: 300 }).chain((size) =>
      fc.record({
        size: fc.constant(size),
        index: fc.nat(size - 1),
        before: fc.integer({ min: 1, max: size - 1 }),
        bit: fc.nat(255),
        which: fc.nat(20),
      }),
    );
    fc.assert(
      fc.property(arbitrary, ({ size, index, before, bit, which }) => {
        const { leaves, edge, hashes } = tree(size);
        const root = rootOf(edge);
        const flipped = (hash: Hash): Hash => {
          const copy = Buffer.from(hash);
          copy[bit >> 3]! ^= 1 << (bit & 7);
          return copy;
        };
        const inclusion = { index, size, leaf: leaves[index]!, root, hashes: hashes(inclusionRanges(index, size)) };
        const at = which % inclusion.hashes.length;
        expect(verifyInclusion({ ...inclusion, leaf: flipped(inclusion.leaf) })).toBe(false);
        expect(
          verifyInclusion({ ...inclusion, hashes: inclusion.hashes.with(at, flipped(inclusion.hashes[at]!)) }),
        ).toBe(false);
        expect(verifyInclusion({ ...inclusion, hashes: inclusion.hashes.slice(1) })).toBe(false);
        expect(verifyInclusion({ ...inclusion, index: (index + 1) % size })).toBe(false);
        expect(verifyInclusion({ ...inclusion, index: size })).toBe(false);
        const beforeRoot = plainRoot(leaves.slice(0, before));
        const consistency = { before, size, beforeRoot, root, hashes: hashes(consistencyRanges(before, size)) };
        const i = which % consistency.hashes.length;
        expect(verifyConsistency({ ...consistency, beforeRoot: flipped(beforeRoot) })).toBe(false);
        expect(
          verifyConsistency({ ...consistency, hashes: consistency.hashes.with(i, flipped(consistency.hashes[i]!)) }),
        ).toBe(false);
        expect(verifyConsistency({ ...consistency, hashes: consistency.hashes.slice(1) })).toBe(false);
      }),
      cases(50),
    );
  });

  it('needs 20 hashes at most for one of a million leaves', () => {
    for (const index of [0, 1, 524_288, 999_999])
      expect(inclusionRanges(index, 1_000_000).length).toBeLessThanOrEqual(20);
  });
});
