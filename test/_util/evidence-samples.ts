// Evidence made by hand: keys, manifests and logs without a database, for tests of what checks them.
import { createHash, generateKeyPairSync } from 'node:crypto';
import { inUse, keyRing, type KeyRing } from '../../src/core/key-ring.ts';
import { proofBytes } from '../../src/core/inclusion-proof.ts';
import { signTreeHead } from '../../src/core/log-checkpoint.ts';
import { leafBytes, type LogLeaf, manifestLeaf } from '../../src/core/log-leaf.ts';
import { type Manifest, type ManifestContent, manifestDigest, signManifest } from '../../src/core/manifest.ts';
import {
  appendLeaves,
  EMPTY_EDGE,
  inclusionRanges,
  leafHash,
  type NodeId,
  rangeHash,
  rootOf,
} from '../../src/core/merkle.ts';
import { readSigningKey, type SigningKey } from '../../src/core/signing-key.ts';

export const ORIGIN = 'trueup.test/log';

export function newKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

export function newKey(): SigningKey {
  return readSigningKey(newKeyPem());
}

export function ringOf(...keys: SigningKey[]): KeyRing {
  return keyRing(keys.map(inUse));
}

export function contentOf(parts: readonly Uint8Array[], more: Partial<ManifestContent> = {}): ManifestContent {
  const whole = createHash('sha256');
  for (const part of parts) whole.update(part);
  return {
    kind: 'entries',
    format: 'csv',
    compression: 'none',
    schema: 'entries/1',
    columns: [{ name: 'ledger', type: 'integer' }],
    rowCount: 3,
    filter: { layer: 'operations', fromLedger: 1, toLedger: 64 },
    cut: { ledger: 64, position: '17' },
    sizeBytes: parts.reduce((sum, part) => sum + part.length, 0),
    sha256: whole.digest('hex'),
    parts: parts.map((part) => ({
      sizeBytes: part.length,
      sha256: createHash('sha256').update(part).digest('hex'),
    })),
    coverage: [
      {
        stream: 'testnet',
        layer: 'operations',
        fromLedger: 1,
        toLedger: 64,
        complete: true,
        missing: [],
        trust: 'chained',
        digest: 'ab'.repeat(16),
      },
    ],
    runs: [],
    sandbox: false,
    generator: { name: 'trueup', version: '0.1.0' },
    ...more,
  };
}

export function manifestOf(number: number, content: ManifestContent, more: Partial<Manifest> = {}): Manifest {
  const id = (kind: string): string => `00000000-0000-4000-8000-${kind}${String(number).padStart(11, '0')}`;
  return {
    manifestId: id('a'),
    exportId: id('b'),
    artifactId: id('c'),
    requester: 'ann',
    fileName: `entries-${number}.csv`,
    generatedAt: '2026-11-30T12:00:00.000Z',
    contentSha256: manifestDigest(content),
    content,
    ...more,
  };
}

export interface SampleLog {
  readonly lines: readonly Buffer[];
  readonly leaves: readonly LogLeaf[];
  readonly envelopes: readonly Buffer[];
  readonly checkpoint: Buffer;
  /** The proof of the manifest of that number, from 0. */
  proof(manifest: number): Buffer;
}

/** A log of these manifests, each followed by what `after` adds. */
export function logOf(
  manifests: readonly Manifest[],
  key: SigningKey,
  after: (place: number) => readonly LogLeaf[] = () => [],
): SampleLog {
  const envelopes = manifests.map((manifest) => signManifest(manifest, key));
  const places: number[] = [];
  const leaves: LogLeaf[] = [];
  manifests.forEach((manifest, place) => {
    places.push(leaves.length);
    leaves.push(manifestLeaf(manifest.manifestId, envelopes[place]!), ...after(place));
  });
  const lines = leaves.map(leafBytes);
  const hashes = lines.map(leafHash);
  const { edge, completed } = appendLeaves(EMPTY_EDGE, hashes);
  const nodes = new Map(completed.map((node) => [`${node.level}/${node.index}`, node.hash]));
  const read = ({ level, index }: NodeId) => (level === 0 ? hashes[index]! : nodes.get(`${level}/${index}`)!);
  const size = lines.length;
  return {
    ...{ lines, leaves, envelopes },
    checkpoint: Buffer.from(signTreeHead({ origin: ORIGIN, size, root: rootOf(edge) }, key)),
    proof(manifest) {
      const index = places[manifest]!;
      const path = inclusionRanges(index, size).map((range) => rangeHash(range, read));
      return proofBytes({ index, size, leaf: hashes[index]!, hashes: path });
    },
  };
}
