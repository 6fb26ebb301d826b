// Verifies what lies under a path: each manifest with its artifact, a whole log with its manifests, or one file.
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { type KeyRing, keyRing, parseKeyRing } from '../../core/key-ring.ts';
import { readProof } from '../../core/inclusion-proof.ts';
import { leafBytes, type LogLeaf, manifestLeaf } from '../../core/log-leaf.ts';
import { type Manifest, openManifest, partName, sha256 as sha256Of } from '../../core/manifest.ts';
import { leafHash } from '../../core/merkle.ts';
import { readTreeHead } from '../../core/log-checkpoint.ts';
import {
  type Check,
  checkEvidence,
  checkPart,
  checkParts,
  checkWhole,
  type FoundPart,
  type Outcome,
  worstOf,
} from '../../core/verify.ts';
import { checkChain, checkLog } from '../../core/verify-log.ts';
import { type EvidenceFile, type EvidenceFolder, readEvidenceFolder } from './evidence-folder.ts';
import { hashFile } from './hash-file.ts';

/** One manifest, log or file, and what was found out about it. */
export interface Verified {
  readonly path: string;
  /** Null for a log, and for a file that no manifest names. */
  readonly manifestId: string | null;
  readonly outcome: Outcome;
  readonly checks: readonly Check[];
}

export interface VerifyOptions {
  /** Files of keys to trust: a PEM, or a keys.json. Empty: the folder's own, which prove only that nothing changed since. */
  readonly keyFiles: readonly string[];
  /** Where the evidence of a single file lies; null: beside it. */
  readonly evidence: string | null;
  readonly signal: AbortSignal;
}

export interface VerifyReport {
  readonly outcome: Outcome;
  readonly items: readonly Verified[];
  /** Whose keys were believed: those that were given, or those that lay in the folder. */
  readonly trust: 'given' | 'folder';
}

export async function verifyPath(path: string, options: VerifyOptions): Promise<VerifyReport> {
  const isFolder = (await stat(path)).isDirectory();
  const folder = await readEvidenceFolder(isFolder ? path : (options.evidence ?? dirname(path)), options.signal);
  const trust = options.keyFiles.length > 0 ? 'given' : 'folder';
  const keys = await readKeys(options.keyFiles, folder);
  const items = isFolder
    ? await verifyFolder(path, folder, keys)
    : await verifyFile(path, folder, keys, options.signal);
  return { outcome: worstOf(items), items, trust };
}

async function verifyFolder(path: string, folder: EvidenceFolder, keys: KeyRing): Promise<Verified[]> {
  const items: Verified[] = [];
  for (const envelope of folder.envelopes) items.push(await verifyManifest(envelope, folder, keys));
  if (folder.log !== null) items.push(verifyLog(folder.log, folder, keys));
  if (items.length > 0) return items;
  return [
    verified(path, null, [{ name: 'manifests', outcome: 'empty', message: 'there is no manifest in this folder' }]),
  ];
}

async function verifyManifest(envelope: EvidenceFile, folder: EvidenceFolder, keys: KeyRing): Promise<Verified> {
  const { opened, checks } = checkEvidence(loggedOf(envelope, folder), keys);
  if (opened === null) return verified(envelope.path, null, checks);
  const { manifest } = opened;
  return verified(envelope.path, manifest.manifestId, [
    ...checks,
    ...(await checkArtifact(envelope, manifest, folder)),
  ]);
}

/** Part by part, or as one file where it was downloaded as one. */
async function checkArtifact({ path }: EvidenceFile, manifest: Manifest, folder: EvidenceFolder): Promise<Check[]> {
  const { fileName, content } = manifest;
  const whole = content.parts.length > 1 ? await folder.findPart(path, fileName, content) : null;
  if (whole !== null) return [checkWhole(manifest, whole)];
  const found: FoundPart[] = [];
  for (const [index, part] of content.parts.entries())
    found.push((await folder.findPart(path, partName(manifest, index), part)) ?? { sha256: null, sizeBytes: 0 });
  return checkParts(manifest, found);
}

/**
 * The proof and checkpoint that lie beside the manifest, also where they don't fit it, for then one of them was damaged; where
 * none does, one of the folder that fits.
 */
function loggedOf(envelope: EvidenceFile, { proofs, checkpoints }: EvidenceFolder) {
  const choose = (files: readonly EvidenceFile[], fits: (file: EvidenceFile) => boolean): EvidenceFile | null => {
    const beside = files.filter((file) => dirname(file.path) === dirname(envelope.path));
    return beside.find(fits) ?? beside[0] ?? files.find(fits) ?? null;
  };
  const id = openManifest(envelope.bytes)?.manifest.manifestId;
  const leaf = id === undefined ? null : leafHash(leafBytes(manifestLeaf(id, envelope.bytes)));
  const proof = choose(proofs, ({ bytes }) => leaf !== null && (readProof(bytes)?.leaf.equals(leaf) ?? false));
  const size = proof === null ? undefined : readProof(proof.bytes)?.size;
  const checkpoint = choose(checkpoints, ({ bytes }) => size !== undefined && readTreeHead(bytes)?.size === size);
  return { envelope: envelope.bytes, proof: proof?.bytes ?? null, checkpoint: checkpoint?.bytes ?? null };
}

function verifyLog(log: EvidenceFile, folder: EvidenceFolder, keys: KeyRing): Verified {
  const beside = folder.checkpoints.find((each) => dirname(each.path) === dirname(log.path));
  const { checks, leaves } = checkLog(linesOf(log.bytes), beside?.bytes ?? null, keys);
  if (leaves.length === 0) return verified(log.path, null, checks);
  const envelopes =
    folder.envelopeLines === null ? inLogOrder(folder.envelopes, leaves) : linesOf(folder.envelopeLines.bytes);
  return verified(log.path, null, [...checks, ...checkChain(leaves, envelopes, keys).checks]);
}

/** Files in folders have no order to be checked; what isn't in the log stays, to be found out. */
function inLogOrder(envelopes: readonly EvidenceFile[], leaves: readonly LogLeaf[]): Buffer[] {
  const places = new Map(leaves.flatMap((leaf, i) => (leaf.kind === 'manifest' ? [[leaf.envelopeSha256, i]] : [])));
  const placeOf = (bytes: Buffer): number => places.get(sha256Of(bytes)) ?? Infinity;
  return envelopes.map(({ bytes }) => bytes).sort((a, b) => placeOf(a) - placeOf(b) || 0);
}

/** A manifest by itself, or a file by the manifest that names its bytes or, failing that, its name. */
async function verifyFile(
  path: string,
  folder: EvidenceFolder,
  keys: KeyRing,
  signal: AbortSignal,
): Promise<Verified[]> {
  const envelope = folder.envelopes.find((each) => basename(each.path) === basename(path));
  if (envelope !== undefined) return [await verifyManifest(envelope, folder, keys)];
  const file = await hashFile(path, signal);
  const signed = folder.envelopes.flatMap((each) => {
    const manifest = openManifest(each.bytes)?.manifest;
    return manifest === undefined ? [] : piecesOf(manifest).map((piece) => ({ each, manifest, ...piece }));
  });
  const named =
    signed.find(({ sha256 }) => sha256 === file.sha256) ?? signed.find(({ name }) => name === basename(path));
  if (named === undefined) {
    const message = `SHA-256 ${file.sha256}, which no manifest beside it names`;
    return [verified(path, null, [{ name: 'artifact', outcome: 'unverifiable', message }])];
  }
  const { checks } = checkEvidence(loggedOf(named.each, folder), keys);
  return [verified(path, named.manifest.manifestId, [...checks, named.check(file)])];
}

interface Piece {
  readonly name: string;
  readonly sha256: string;
  check(file: FoundPart): Check;
}

/** The files that an artifact may lie in: its parts, or all of it. */
function piecesOf(manifest: Manifest): Piece[] {
  const { fileName, content } = manifest;
  const parts = content.parts.map(({ sha256 }, index) => ({
    name: partName(manifest, index),
    sha256,
    check: (file: FoundPart) => checkPart(manifest, index, file),
  }));
  const whole = { name: fileName, sha256: content.sha256, check: (file: FoundPart) => checkWhole(manifest, file) };
  return parts.length === 1 ? parts : [...parts, whole];
}

async function readKeys(files: readonly string[], folder: EvidenceFolder): Promise<KeyRing> {
  const texts =
    files.length > 0
      ? await Promise.all(files.map((file) => readFile(file, 'utf8')))
      : folder.keys.map(({ bytes }) => bytes.toString('utf8'));
  return keyRing(texts.flatMap(parseKeyRing));
}

function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(10, at);
    lines.push(bytes.subarray(at, end < 0 ? bytes.length : end));
    at = end < 0 ? bytes.length : end + 1;
  }
  return lines;
}

function verified(path: string, manifestId: string | null, checks: readonly Check[]): Verified {
  return { path, manifestId, outcome: worstOf(checks), checks };
}
