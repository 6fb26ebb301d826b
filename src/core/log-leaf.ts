// What stands in the evidence log: one canonical JSON document a leaf, whatever happened to evidence, in the order of commits.
import { canonicalBytes, isJsonObject, type Json, readCanonical } from './jcs.ts';
import { sha256 } from './manifest.ts';

export type PruneCause = 'count' | 'age';

export type LogLeaf =
  | { readonly kind: 'manifest'; readonly manifestId: string; readonly envelopeSha256: string }
  /** The artifact's bytes were removed by retention. */
  | {
      readonly kind: 'tombstone';
      readonly manifestId: string;
      readonly artifactId: string;
      readonly artifactSha256: string;
      readonly cause: PruneCause;
      readonly at: string;
    }
  | {
      readonly kind: 'hold';
      readonly holdId: string;
      readonly manifestId: string;
      readonly actor: string;
      readonly reason: string;
      readonly at: string;
    }
  | {
      readonly kind: 'hold-release';
      readonly holdId: string;
      readonly manifestId: string;
      readonly actor: string;
      readonly reason: string;
      readonly at: string;
    }
  /** From here on evidence is signed with another key, or a key is known as retired or revoked. */
  | {
      readonly kind: 'key';
      readonly event: 'active' | 'retired' | 'revoked';
      readonly keyId: string;
      readonly publicKeyPem: string;
      readonly at: string;
    }
  /** A day went by; also one without a manifest, so that silence can't be mistaken for something that was left out. */
  | { readonly kind: 'period'; readonly from: string; readonly to: string; readonly manifests: number };

export type LeafKind = LogLeaf['kind'];

export function leafBytes(leaf: LogLeaf): Buffer {
  return canonicalBytes(leaf as unknown as Json);
}

export function manifestLeaf(manifestId: string, envelope: Uint8Array): LogLeaf {
  return { kind: 'manifest', manifestId, envelopeSha256: sha256(envelope) };
}

/** Undefined for bytes that are no leaf of this log. */
export function readLeaf(bytes: Uint8Array): LogLeaf | undefined {
  const leaf = readCanonical(bytes);
  return isJsonObject(leaf) && typeof leaf['kind'] === 'string' ? (leaf as unknown as LogLeaf) : undefined;
}
