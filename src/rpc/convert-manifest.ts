// Manifests, holds, proofs and verifications to messages, and the list's filter back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Hold, LogCheckpoint, ManifestFilter, ManifestRecord, ShownManifest } from '../core/evidence.ts';
import { mediaTypeOf } from '../core/export.ts';
import type { Manifest, ManifestFilter as ManifestRows } from '../core/manifest.ts';
import type { Check, Outcome } from '../core/verify.ts';
import type { ProvenManifest, ManifestVerification } from '../services/manifests.ts';
import { CoverageTrust } from '../../gen/trueup/v1/coverage_pb.js';
import { DriftKind, DriftState } from '../../gen/trueup/v1/drift_pb.js';
import {
  type ArtifactSchema,
  ArtifactState,
  type CheckpointSchema,
  CheckState,
  type ExportFilterSchema,
  type HoldSchema,
  type InclusionProofSchema,
  type ManifestSchema,
  ManifestVerdict,
} from '../../gen/trueup/v1/manifest_pb.js';
import type { ListManifestsRequest, VerifyManifestResponseSchema } from '../../gen/trueup/v1/manifest_service_pb.js';
import { fromTimestamp, LAYER_OUT, optionalTimestamp, orAll, present, readAll, toTimestamp } from './convert-common.ts';
import { EXPORT_FORMAT_OUT, EXPORT_KIND_OUT, exportKindIn } from './convert-export.ts';

const VERDICT_OUT: Record<Outcome, ManifestVerdict> = {
  match: ManifestVerdict.MATCH,
  altered: ManifestVerdict.MISMATCH,
  unknown_key: ManifestVerdict.MISMATCH,
  missing: ManifestVerdict.MISMATCH,
  gap: ManifestVerdict.INCOMPLETE,
  empty: ManifestVerdict.INCOMPLETE,
  unverifiable: ManifestVerdict.UNVERIFIABLE,
};

export function fromManifestFilter(request: ListManifestsRequest): ManifestFilter {
  return present({
    kinds: readAll(request.kinds, exportKindIn),
    requester: orAll(request.requester),
    checksum: orAll(request.checksum),
    from: request.startTime && fromTimestamp(request.startTime, 'start_time'),
    to: request.endTime && fromTimestamp(request.endTime, 'end_time'),
    held: request.held,
    includePruned: request.includePruned,
  });
}

/** A list leaves out the bytes that were signed. */
export function toManifest(
  { record, manifest, statement, keyId, holds, log }: ShownManifest,
  how: 'whole' | 'listed',
): MessageInitShape<typeof ManifestSchema> {
  return {
    id: record.id,
    requester: record.requester,
    kind: EXPORT_KIND_OUT[record.kind],
    format: EXPORT_FORMAT_OUT[record.format],
    checksum: record.checksum,
    generateTime: toTimestamp(record.generatedAt),
    fileName: record.fileName,
    rowCount: BigInt(record.rowCount),
    exportId: record.exportId,
    artifact: toArtifact(record, manifest),
    ...(manifest !== null && toContent(manifest)),
    statement: how === 'whole' && statement !== null ? statement : new Uint8Array(),
    envelope: how === 'whole' ? record.envelope : new Uint8Array(),
    keyId: keyId ?? '',
    logIndex: log === null ? '' : String(log.index),
    leafHash: log?.leaf.toString('hex') ?? '',
    holds: holds.map(toHold),
    sandbox: record.sandbox,
  };
}

export function toArtifact(record: ManifestRecord, manifest: Manifest | null): MessageInitShape<typeof ArtifactSchema> {
  return {
    id: record.artifactId,
    fileName: record.fileName,
    mediaType: mediaTypeOf({ format: record.format, compression: manifest?.content.compression ?? 'none' }),
    sizeBytes: BigInt(manifest?.content.sizeBytes ?? 0),
    sha256: record.checksum,
    state: record.prunedAt === null ? ArtifactState.STORED : ArtifactState.PRUNED,
    createTime: toTimestamp(record.generatedAt),
    pruneTime: optionalTimestamp(record.prunedAt),
  };
}

export function toHold(hold: Hold): MessageInitShape<typeof HoldSchema> {
  return {
    id: hold.id,
    manifestId: hold.manifestId,
    reason: hold.reason,
    placedBy: hold.placedBy,
    createTime: toTimestamp(hold.createdAt),
    releaseTime: optionalTimestamp(hold.releasedAt),
    releasedBy: hold.releasedBy ?? '',
    releaseReason: hold.releaseReason ?? '',
  };
}

export function toCheckpoint(checkpoint: LogCheckpoint): MessageInitShape<typeof CheckpointSchema> {
  return {
    origin: checkpoint.origin,
    treeSize: String(checkpoint.size),
    rootHash: checkpoint.root,
    note: checkpoint.note,
    keyId: checkpoint.keyId,
    signTime: toTimestamp(checkpoint.signedAt),
  };
}

export function toProof(proof: ProvenManifest): MessageInitShape<typeof InclusionProofSchema> {
  return {
    manifestId: proof.manifestId,
    logIndex: String(proof.index),
    treeSize: String(proof.size),
    leafHash: proof.leaf,
    hashes: proof.hashes.slice(),
    rootHash: proof.checkpoint.root,
    checkpoint: toCheckpoint(proof.checkpoint),
  };
}

export function toVerification(result: ManifestVerification): MessageInitShape<typeof VerifyManifestResponseSchema> {
  return {
    verdict: VERDICT_OUT[result.outcome],
    checks: result.checks.map(toCheck),
    actualChecksum: result.actualChecksum ?? '',
    ...(result.checksumMatch !== null && { checksumMatch: result.checksumMatch }),
  };
}

function toCheck({ name, outcome, message }: Check) {
  const state =
    outcome === 'match' ? CheckState.PASSED : outcome === 'unverifiable' ? CheckState.SKIPPED : CheckState.FAILED;
  return { name, state, message };
}

function toContent({ content }: Manifest) {
  return {
    filter: toFilter(content.filter),
    columns: content.columns.map(({ name, type }) => ({ name, type })),
    schema: content.schema,
    coverage: content.coverage.map(({ layer, missing, trust, digest, ...rest }) => ({
      ...rest,
      layer: LAYER_OUT[layer],
      missingRanges: missing.slice(),
      trust:
        trust === null
          ? CoverageTrust.UNSPECIFIED
          : trust === 'chained'
            ? CoverageTrust.CHAINED
            : CoverageTrust.PROVIDER_ASSERTED,
      digest: digest ?? '',
    })),
  };
}

function toFilter(filter: ManifestRows): MessageInitShape<typeof ExportFilterSchema> {
  const { layer, fromLedger, toLedger, startTime, endTime, driftStates, driftKinds, ...rest } = filter;
  const { accounts, assets, kinds, ...words } = rest;
  return {
    ...words,
    ...(layer !== undefined && { layer: LAYER_OUT[layer] }),
    ...(fromLedger !== undefined && toLedger !== undefined && { range: { fromLedger, toLedger } }),
    ...(startTime !== undefined && { startTime: toTimestamp(new Date(startTime)) }),
    ...(endTime !== undefined && { endTime: toTimestamp(new Date(endTime)) }),
    accounts: accounts?.slice() ?? [],
    assets: assets?.slice() ?? [],
    kinds: kinds?.slice() ?? [],
    driftStates: (driftStates ?? []).map((state) => valueOf(DriftState, state.toUpperCase())),
    driftKinds: (driftKinds ?? []).map((kind) => valueOf(DriftKind, kind)),
  };
}

/** Words that a manifest of another version may have and this contract not yet are UNSPECIFIED. */
function valueOf<E extends number>(values: object, word: string): E {
  return ((values as Record<string, E | undefined>)[word] ?? 0) as E;
}
