// The proof that a manifest is in the log, as the file of a bundle has it.
import { canonicalBytes, isJsonObject, readCanonical } from './jcs.ts';
import type { Hash } from './merkle.ts';

export interface InclusionProof {
  readonly index: number;
  readonly size: number;
  readonly leaf: Hash;
  /** From the leaf upwards. */
  readonly hashes: readonly Hash[];
}

const HASH = /^[0-9a-f]{64}$/;

export function proofBytes({ index, size, leaf, hashes }: InclusionProof): Buffer {
  return canonicalBytes({
    hashes: hashes.map((hash) => hash.toString('hex')),
    leafHash: leaf.toString('hex'),
    logIndex: index,
    treeSize: size,
  });
}

/** Undefined for bytes that are no such proof. */
export function readProof(bytes: Uint8Array): InclusionProof | undefined {
  const proof = readCanonical(bytes);
  if (!isJsonObject(proof)) return undefined;
  const { hashes, leafHash, logIndex, treeSize, ...rest } = proof;
  if (!Array.isArray(hashes) || !hashes.every(isHash) || !isHash(leafHash)) return undefined;
  if (!Number.isSafeInteger(logIndex) || !Number.isSafeInteger(treeSize) || Object.keys(rest).length > 0)
    return undefined;
  return {
    index: logIndex as number,
    size: treeSize as number,
    leaf: Buffer.from(leafHash, 'hex'),
    hashes: hashes.map((hash) => Buffer.from(hash, 'hex')),
  };
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value);
}
