// Evidence as it is kept and shown: manifests with what became of them, holds, and the state of the log.
import type { Hash } from './merkle.ts';
import type { ExportFormat, ExportKind } from './export.ts';
import type { Manifest } from './manifest.ts';

/** What a list needs to know without opening the envelope; VerifyManifest checks that it says the same. */
export interface ManifestRecord {
  readonly id: string;
  readonly exportId: string;
  readonly artifactId: string;
  readonly requester: string;
  readonly kind: ExportKind;
  readonly format: ExportFormat;
  readonly checksum: string;
  readonly fileName: string;
  readonly rowCount: number;
  readonly generatedAt: Date;
  readonly sandbox: boolean;
  readonly envelope: Buffer;
  /** When retention removed the artifact's bytes; the record stays as their tombstone. Null: they are kept. */
  readonly prunedAt: Date | null;
}

export interface ManifestFilter {
  readonly kinds?: readonly ExportKind[];
  readonly requester?: string;
  readonly checksum?: string;
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly to?: Date;
  readonly held?: boolean;
  /** Also the tombstones. */
  readonly includePruned?: boolean;
}

export interface Hold {
  readonly id: string;
  readonly manifestId: string;
  readonly reason: string;
  readonly placedBy: string;
  readonly createdAt: Date;
  /** Null: it is in force. */
  readonly releasedAt: Date | null;
  readonly releasedBy: string | null;
  readonly releaseReason: string | null;
}

export interface LogCheckpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
  readonly note: Buffer;
  readonly keyId: string;
  readonly signedAt: Date;
}

/** A manifest as it is shown: opened, with its holds in force and its place in the log. */
export interface ShownManifest {
  readonly record: ManifestRecord;
  /** Null where the stored envelope can't be read any more; VerifyManifest says more. */
  readonly manifest: Manifest | null;
  readonly statement: Buffer | null;
  readonly keyId: string | null;
  readonly holds: readonly Hold[];
  /** Null: not sealed yet. */
  readonly log: { readonly index: number; readonly leaf: Hash } | null;
}

export function recordOf(manifest: Manifest, envelope: Buffer): ManifestRecord {
  const { content } = manifest;
  return {
    id: manifest.manifestId,
    exportId: manifest.exportId,
    artifactId: manifest.artifactId,
    requester: manifest.requester,
    kind: content.kind,
    format: content.format,
    checksum: content.sha256,
    fileName: manifest.fileName,
    rowCount: content.rowCount,
    generatedAt: new Date(manifest.generatedAt),
    sandbox: content.sandbox,
    envelope,
    prunedAt: null,
  };
}

/** The first field in which a record says something else than its signed manifest; null: none. */
export function contradiction(record: ManifestRecord, manifest: Manifest): string | null {
  const signed = recordOf(manifest, record.envelope);
  const fields = Object.keys(signed) as (keyof ManifestRecord)[];
  return (
    fields.find(
      (field) => field !== 'prunedAt' && field !== 'envelope' && String(record[field]) !== String(signed[field]),
    ) ?? null
  );
}
