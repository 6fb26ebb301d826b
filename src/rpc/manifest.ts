// Evidence at the door.
import { createHash } from 'node:crypto';
import { askerOf } from './asker.ts';
import { orNull } from './convert-common.ts';
import {
  fromManifestFilter,
  toArtifact,
  toCheckpoint,
  toHold,
  toManifest,
  toProof,
  toVerification,
} from './convert-manifest.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { ListManifestsRequestSchema, type ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';

/** As the contract says: a message well below every client's limit. */
const DOWNLOAD_CHUNK_BYTES = 256 * 1024;

export function manifestHandlers({ manifests }: Pick<RpcPorts, 'manifests'>): ServiceHandlers<typeof ManifestService> {
  return {
    async getManifest(request) {
      return { manifest: toManifest(await manifests.get(request.manifestId), 'whole') };
    },

    async listManifests(request) {
      const pager = pagerOf(ListManifestsRequestSchema, request, PAGE_LIMITS.maxResources);
      const page = await manifests.list(fromManifestFilter(request), pager.page);
      return {
        manifests: page.items.map((shown) => toManifest(shown, 'listed')),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    async verifyManifest(request, call) {
      return toVerification(await manifests.verify(request.manifestId, orNull(request.checksum), call.signal));
    },

    async getInclusionProof(request) {
      return { proof: toProof(await manifests.proveInclusion(request.manifestId, sizeOf(request.treeSize))) };
    },

    async getCheckpoint(request) {
      const proven = await manifests.checkpoint(sizeOf(request.treeSize), sizeOf(request.fromTreeSize));
      return {
        checkpoint: toCheckpoint(proven.checkpoint),
        consistencyHashes: proven.consistency.slice(),
        publicKeyPem: proven.publicKeyPem ?? '',
      };
    },

    async *downloadArtifact(request, call) {
      const offsetBytes = Number(request.offsetBytes);
      const { record, manifest, chunks } = await manifests.download(request.artifactId, offsetBytes, call.signal);
      const hash = createHash('sha256');
      let at = offsetBytes;
      yield { artifact: toArtifact(record, manifest), offsetBytes: BigInt(at), last: false };
      for await (const bytes of chunks) {
        for (let from = 0; from < bytes.length; from += DOWNLOAD_CHUNK_BYTES) {
          call.signal.throwIfAborted();
          // A copy: the message may wait for a slow reader while the next bytes are read.
          const chunk = Uint8Array.from(bytes.subarray(from, from + DOWNLOAD_CHUNK_BYTES));
          hash.update(chunk);
          yield { offsetBytes: BigInt(at), chunk, last: false };
          at += chunk.length;
        }
      }
      yield { offsetBytes: BigInt(at), last: true, sentSha256: hash.digest('hex') };
    },

    async placeHold(request, call) {
      const { manifestId, reason } = request;
      const hold = await manifests.placeHold(
        { manifestId, reason, requestId: orNull(request.requestId) },
        askerOf(call),
      );
      return { hold: toHold(hold) };
    },

    async releaseHold(request, call) {
      const { holdId, reason } = request;
      const hold = await manifests.releaseHold({ holdId, reason, requestId: orNull(request.requestId) }, askerOf(call));
      return { hold: toHold(hold) };
    },
  };
}

/** The pattern of the contract allows 20 digits; a tree has never that many leaves, so the lookup finds none. */
function sizeOf(text: string): number | null {
  return text === '' ? null : Math.min(Number(text), Number.MAX_SAFE_INTEGER);
}
