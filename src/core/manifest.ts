// A manifest: what an export contains and what its bytes are, as an in-toto Statement whose canonical bytes are signed.
//
// It is plain JSON throughout, since its bytes are what counts: times are ISO 8601 in UTC, ledgers inclusive, hashes lower-case hex.
import { createHash } from 'node:crypto';
import { type Envelope, readEnvelope, signEnvelope } from './dsse.ts';
import type { Layer } from './entry.ts';
import type { ExportCompression, ExportFormat, ExportKind } from './export.ts';
import { canonicalBytes, isJsonObject, type Json } from './jcs.ts';
import type { SigningKey } from './signing-key.ts';

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
export const PREDICATE_TYPE = 'urn:trueup:manifest:1';
export const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/** Which rows were asked for; what is absent selects everything. */
export interface ManifestFilter {
  readonly stream?: string;
  readonly layer?: Layer;
  readonly book?: string;
  readonly policy?: string;
  readonly fromLedger?: number;
  readonly toLedger?: number;
  /** Inclusive. */
  readonly startTime?: string;
  /** Exclusive. */
  readonly endTime?: string;
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
  readonly kinds?: readonly string[];
  readonly driftStates?: readonly string[];
  readonly driftKinds?: readonly string[];
  readonly reconciliationId?: string;
  readonly sweepId?: string;
  readonly actor?: string;
}

/** The bytes of one file of the artifact. */
export interface ArtifactPart {
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface CoverageStatement {
  readonly stream: string;
  readonly layer: Layer;
  readonly fromLedger: number;
  readonly toLedger: number;
  readonly complete: boolean;
  /** The first ones, at most 1,000; `complete` counts all. */
  readonly missing: readonly { readonly fromLedger: number; readonly toLedger: number }[];
  readonly trust: 'chained' | 'provider-asserted' | null;
  /** Hex; null: not complete. */
  readonly digest: string | null;
}

/** All that follows from the data and the question: the same export of the same cut has the same content, to the byte. */
export interface ManifestContent {
  readonly kind: ExportKind;
  readonly format: ExportFormat;
  readonly compression: ExportCompression;
  /** Version of the columns' meaning, such as entries/1. */
  readonly schema: string;
  /** Empty: the format has none. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** Without a header line. */
  readonly rowCount: number;
  readonly filter: ManifestFilter;
  /** Up to what the data was read: the last ledger and the position in commit order, whichever the kind has. */
  readonly cut: { readonly ledger: number | null; readonly position: string | null };
  /** Of the artifact as a whole: its parts, one after another. */
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly parts: readonly ArtifactPart[];
  readonly coverage: readonly CoverageStatement[];
  /** Runs whose results are in it, with the digest of each. */
  readonly runs: readonly { readonly id: string; readonly digest: string }[];
  readonly sandbox: boolean;
  readonly generator: { readonly name: string; readonly version: string };
}

export interface Manifest {
  readonly manifestId: string;
  readonly exportId: string;
  readonly artifactId: string;
  /** The token's name. */
  readonly requester: string;
  readonly fileName: string;
  readonly generatedAt: string;
  /** SHA-256 of the content's canonical bytes: what two exports from one cut have in common. */
  readonly contentSha256: string;
  readonly content: ManifestContent;
}

export interface OpenedManifest {
  readonly manifest: Manifest;
  /** The very bytes that were signed. */
  readonly statement: Buffer;
  readonly envelope: Envelope;
}

export function manifestDigest(content: ManifestContent): string {
  return sha256(canonicalBytes(content as unknown as Json));
}

export function statementBytes(manifest: Manifest): Buffer {
  return canonicalBytes({
    _type: STATEMENT_TYPE,
    predicate: manifest as unknown as Json,
    predicateType: PREDICATE_TYPE,
    subject: manifest.content.parts.map((part, index) => ({
      digest: { sha256: part.sha256 },
      name: partName(manifest, index),
    })),
  });
}

export function signManifest(manifest: Manifest, key: SigningKey): Buffer {
  return signEnvelope(PAYLOAD_TYPE, statementBytes(manifest), key);
}

/** Reads an envelope's bytes without believing them; undefined where they are no manifest that we would have written. */
export function openManifest(bytes: Uint8Array): OpenedManifest | undefined {
  const envelope = readEnvelope(bytes);
  if (envelope?.payloadType !== PAYLOAD_TYPE) return undefined;
  const manifest = predicateOf(envelope.payload);
  if (!isManifest(manifest) || manifestDigest(manifest.content) !== manifest.contentSha256) return undefined;
  // All of it follows from the predicate, its canonical form too; a statement that is another is none of ours.
  if (!statementBytes(manifest).equals(envelope.payload)) return undefined;
  return { manifest, statement: envelope.payload, envelope };
}

function predicateOf(statement: Buffer): unknown {
  try {
    const parsed: unknown = JSON.parse(statement.toString());
    return isJsonObject(parsed) ? parsed['predicate'] : undefined;
  } catch {
    return undefined;
  }
}

/** The file of a part: the artifact's own name, numbered where there are several. */
export function partName({ fileName, content }: Pick<Manifest, 'fileName' | 'content'>, index: number): string {
  return content.parts.length === 1 ? fileName : `${fileName}.${String(index + 1).padStart(4, '0')}`;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Enough of the shape for everything that reads a manifest; a signature vouches for the rest. */
function isManifest(value: unknown): value is Manifest {
  if (!isJsonObject(value)) return false;
  const texts = ['manifestId', 'exportId', 'artifactId', 'requester', 'fileName', 'generatedAt', 'contentSha256'];
  const content = value['content'];
  if (!texts.every((name) => typeof value[name] === 'string') || !isJsonObject(content)) return false;
  const { parts, coverage, columns, runs, rowCount, sizeBytes, filter, cut, generator } = content;
  return (
    typeof content['sha256'] === 'string' &&
    isCount(rowCount) &&
    isCount(sizeBytes) &&
    [filter, cut, generator].every(isJsonObject) &&
    [columns, runs].every(Array.isArray) &&
    Array.isArray(coverage) &&
    coverage.every((each: unknown) => isJsonObject(each) && Array.isArray(each['missing'])) &&
    Array.isArray(parts) &&
    parts.length > 0 &&
    parts.every(
      (part: unknown) => isJsonObject(part) && isCount(part['sizeBytes']) && typeof part['sha256'] === 'string',
    )
  );
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
