// The bytes of an artifact, part after part, from any offset.
import { TrueUpError } from '../core/errors.ts';
import type { ArtifactStore } from '../core/artifact.ts';
import type { ManifestRecord } from '../core/evidence.ts';
import { type Manifest, openManifest } from '../core/manifest.ts';
import type { Database } from '../store/database.ts';
import type { EvidenceStore } from '../store/evidence.ts';

export interface ArtifactDownload {
  readonly record: ManifestRecord;
  readonly manifest: Manifest;
  /** In order; a chunk is valid until the next is asked for. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface ArtifactDownloadDeps {
  readonly db: Database;
  readonly store: EvidenceStore;
  readonly artifacts: ArtifactStore;
}

export function createArtifactDownload({ db, store, artifacts }: ArtifactDownloadDeps) {
  /** @throws ARTIFACT_NOT_FOUND, ARTIFACT_PRUNED; INVALID_REQUEST for an offset behind the end */
  return async (artifactId: string, offsetBytes: number, signal: AbortSignal): Promise<ArtifactDownload> => {
    const record = await store.findArtifact(db.em(), artifactId);
    const manifest = record === null ? undefined : openManifest(record.envelope)?.manifest;
    if (record === null || manifest === undefined) {
      throw new TrueUpError('ARTIFACT_NOT_FOUND', `there is no artifact ${artifactId}`, {
        fix: 'GetExport names the artifact of a completed export',
      });
    }
    if (record.prunedAt !== null) {
      throw new TrueUpError('ARTIFACT_PRUNED', `the bytes of ${artifactId} were removed by retention`, {
        fix: 'export the rows again; its manifest still says what the bytes were',
      });
    }
    if (offsetBytes > manifest.content.sizeBytes) {
      throw new TrueUpError('INVALID_REQUEST', `the artifact ends at byte ${manifest.content.sizeBytes}`, {
        fields: [{ field: 'offset_bytes', description: 'is behind the end' }],
      });
    }
    return { record, manifest, chunks: readFrom(artifacts, manifest, offsetBytes, signal) };
  };
}

async function* readFrom(
  artifacts: ArtifactStore,
  { artifactId, content }: Manifest,
  offsetBytes: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let skip = offsetBytes;
  for (const [index, { sizeBytes }] of content.parts.entries()) {
    if (skip >= sizeBytes) {
      skip -= sizeBytes;
      continue;
    }
    await using part = await artifacts.open(artifactId, index);
    if (part === null) {
      throw new TrueUpError(
        'ARTIFACT_NOT_FOUND',
        `part ${index + 1} of ${artifactId} is gone from the artifact folder`,
        {
          fix: 'bring the folder back from a backup; VerifyManifest tells whether it is the one that was signed',
        },
      );
    }
    yield* part.read(skip, signal);
    skip = 0;
  }
}
