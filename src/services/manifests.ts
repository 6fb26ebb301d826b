// Manifests as they are asked for: shown, listed, verified against the bytes as they are stored now, proven to be in the log.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ArtifactStore } from '../core/artifact.ts';
import { TrueUpError } from '../core/errors.ts';
import {
  contradiction,
  type LogCheckpoint,
  type ManifestFilter,
  type ManifestRecord,
  type ShownManifest,
} from '../core/evidence.ts';
import { type InclusionProof, proofBytes } from '../core/inclusion-proof.ts';
import type { KeyRing } from '../core/key-ring.ts';
import { type Manifest, openManifest } from '../core/manifest.ts';
import {
  completeNodes,
  consistencyRanges,
  type Hash,
  inclusionRanges,
  type LeafRange,
  rangeHash,
} from '../core/merkle.ts';
import type { Page, PageRequest } from '../core/page.ts';
import { type Check, checkEvidence, checkParts, type FoundPart, worstOf } from '../core/verify.ts';
import type { Database } from '../store/database.ts';
import type { EvidenceStore } from '../store/evidence.ts';
import { notFound } from './manifest-holds.ts';

export interface ManifestsDeps {
  readonly db: Database;
  readonly store: EvidenceStore;
  readonly artifacts: ArtifactStore;
  /** Keys that are believed: from the configuration, never from the database that they vouch for. */
  readonly keys: KeyRing;
}

export interface ManifestVerification {
  readonly outcome: ReturnType<typeof worstOf>;
  readonly checks: readonly Check[];
  /** SHA-256 of the bytes as read now; null: they were removed. */
  readonly actualChecksum: string | null;
  /** Null: none was sent. */
  readonly checksumMatch: boolean | null;
}

export interface ProvenManifest extends InclusionProof {
  readonly manifestId: string;
  readonly checkpoint: LogCheckpoint;
}

export interface ProvenCheckpoint {
  readonly checkpoint: LogCheckpoint;
  readonly consistency: readonly Hash[];
  /** Null: the key is none of those configured any more. */
  readonly publicKeyPem: string | null;
}

export function createManifests({ db, store, artifacts, keys }: ManifestsDeps) {
  async function mustFind(em: EntityManager, id: string): Promise<ManifestRecord> {
    const record = await store.findManifest(em, id);
    if (record === null) throw notFound(id);
    return record;
  }

  async function show(em: EntityManager, records: readonly ManifestRecord[]): Promise<ShownManifest[]> {
    const ids = records.map(({ id }) => id);
    const holds = await store.holdsOf(em, ids);
    const places = await store.placesOf(em, ids);
    return records.map((record) => {
      const opened = openManifest(record.envelope);
      return {
        record,
        manifest: opened?.manifest ?? null,
        statement: opened?.statement ?? null,
        keyId: opened?.envelope.keyId ?? null,
        holds: holds.filter((hold) => hold.manifestId === record.id),
        log: places.get(record.id) ?? null,
      };
    });
  }

  async function hashesOf(em: EntityManager, ranges: readonly LeafRange[]): Promise<Hash[]> {
    const nodes = ranges.flatMap(completeNodes);
    const hashes = await store.readNodes(em, nodes);
    const known = new Map(nodes.map(({ level, index }, i) => [`${level}/${index}`, hashes[i]!]));
    return ranges.map((range) => rangeHash(range, ({ level, index }) => known.get(`${level}/${index}`)!));
  }

  async function checkpointAt(em: EntityManager, size: number | null): Promise<LogCheckpoint> {
    const checkpoint = await store.findCheckpoint(em, size);
    if (checkpoint !== null) return checkpoint;
    throw new TrueUpError(
      'CHECKPOINT_NOT_FOUND',
      size === null ? 'the log has no checkpoint yet' : `the log has no checkpoint of ${size} leaves`,
      { fix: size === null ? 'wait for the next sealing (TRUEUP_SEAL_INTERVAL)' : 'ask for the newest one' },
    );
  }

  async function prove(em: EntityManager, manifestId: string, size: number | null): Promise<ProvenManifest> {
    const place = (await store.placesOf(em, [manifestId])).get(manifestId);
    const checkpoint = await checkpointAt(em, size);
    if (place === undefined || place.index >= checkpoint.size)
      throw new TrueUpError('CHECKPOINT_NOT_FOUND', `no checkpoint asked for has manifest ${manifestId} yet`, {
        fix: 'wait for the next sealing (TRUEUP_SEAL_INTERVAL), or ask for a later checkpoint',
      });
    const hashes = await hashesOf(em, inclusionRanges(place.index, checkpoint.size));
    return { manifestId, ...place, size: checkpoint.size, hashes, checkpoint };
  }

  return {
    async get(id: string): Promise<ShownManifest> {
      const em = db.em();
      const [shown] = await show(em, [await mustFind(em, id)]);
      return shown!;
    },

    async list(filter: ManifestFilter, page: PageRequest): Promise<Page<ShownManifest>> {
      const em = db.em();
      const { items, ...rest } = await store.listManifests(em, filter, page);
      return { ...rest, items: await show(em, items) };
    },

    /** Reads the stored bytes to their end, every time; nothing that was noted before is believed. */
    async verify(id: string, checksum: string | null, signal: AbortSignal): Promise<ManifestVerification> {
      const em = db.em();
      const record = await mustFind(em, id);
      const proof = await prove(em, id, null).catch((error: unknown) => {
        if (error instanceof TrueUpError && error.reason === 'CHECKPOINT_NOT_FOUND') return null;
        throw error;
      });
      const evidence = {
        envelope: record.envelope,
        checkpoint: proof?.checkpoint.note ?? null,
        proof: proof === null ? null : proofBytes(proof),
      };
      const { opened, checks } = checkEvidence(evidence, keys);
      const wrong = opened === null ? null : contradiction(record, opened.manifest);
      if (wrong !== null)
        checks.push({
          name: 'statement',
          outcome: 'altered',
          message: `the database has another ${wrong} than was signed`,
        });
      const found = opened === null ? null : await readArtifact(artifacts, opened.manifest, signal);
      if (found !== null) checks.unshift(...artifactChecks(record, opened!.manifest, found.parts));
      const actualChecksum = found?.whole ?? null;
      if (checksum !== null) checks.unshift(checksumCheck(checksum, opened?.manifest.content.sha256 ?? null));
      const checksumMatch = checksum === null ? null : checksum === opened?.manifest.content.sha256;
      return { outcome: worstOf(checks), checks, actualChecksum, checksumMatch };
    },

    async proveInclusion(id: string, size: number | null): Promise<ProvenManifest> {
      const em = db.em();
      await mustFind(em, id);
      return await prove(em, id, size);
    },

    async checkpoint(size: number | null, fromSize: number | null): Promise<ProvenCheckpoint> {
      const em = db.em();
      const checkpoint = await checkpointAt(em, size);
      if (fromSize !== null && fromSize > checkpoint.size)
        throw new TrueUpError(
          'INVALID_REQUEST',
          `the tree of ${checkpoint.size} leaves doesn't begin with one of ${fromSize}`,
          {
            fields: [{ field: 'from_tree_size', description: 'is larger than the tree' }],
          },
        );
      const consistency = fromSize === null ? [] : await hashesOf(em, consistencyRanges(fromSize, checkpoint.size));
      return { checkpoint, consistency, publicKeyPem: keys.get(checkpoint.keyId)?.pem ?? null };
    },
  };
}

interface ReadArtifact {
  readonly parts: readonly FoundPart[];
  /** SHA-256 of all parts, one after another; null: one of them is gone. */
  readonly whole: string | null;
}

async function readArtifact(artifacts: ArtifactStore, manifest: Manifest, signal: AbortSignal): Promise<ReadArtifact> {
  const whole = createHash('sha256');
  const parts: FoundPart[] = [];
  for (const index of manifest.content.parts.keys()) {
    await using part = await artifacts.open(manifest.artifactId, index);
    if (part === null) return { parts: [...parts, { sha256: null, sizeBytes: 0 }], whole: null };
    const hash = createHash('sha256');
    let sizeBytes = 0;
    for await (const chunk of part.read(0, signal)) {
      hash.update(chunk);
      whole.update(chunk);
      sizeBytes += chunk.length;
    }
    parts.push({ sha256: hash.digest('hex'), sizeBytes });
  }
  return { parts, whole: whole.digest('hex') };
}

function artifactChecks(record: ManifestRecord, manifest: Manifest, parts: readonly FoundPart[]): Check[] {
  if (record.prunedAt === null) return checkParts(manifest, parts);
  const message = `the bytes were removed by retention at ${record.prunedAt.toISOString()}`;
  return [{ name: 'artifact', outcome: 'unverifiable', message }];
}

function checksumCheck(sent: string, signed: string | null): Check {
  return sent === signed
    ? { name: 'checksum', outcome: 'match', message: `${sent} is what was signed` }
    : {
        name: 'checksum',
        outcome: 'altered',
        message: `${sent} was sent; signed was ${signed ?? 'something unreadable'}`,
      };
}
