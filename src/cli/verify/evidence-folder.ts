// What lies in a folder of evidence: envelopes, proofs, checkpoints, keys and logs by their names or, renamed, by what they are;
// all else may be an artifact and is looked up by size, then by hash.
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readProof } from '../../core/inclusion-proof.ts';
import { readTreeHead } from '../../core/log-checkpoint.ts';
import { openManifest } from '../../core/manifest.ts';
import { CommandError } from '../world.ts';
import { hashFile, type HashedFile } from './hash-file.ts';

export const FOLDER_LIMITS = {
  maxFiles: 1_000_000,
  /** A larger file is an artifact, whatever it is called; logs are known by name alone. */
  maxEvidenceBytes: 4 * 1024 * 1024,
  /** A checkpoint under another name than its own; ours have some 300 bytes. */
  maxCheckpointBytes: 4096,
} as const;

const HEAD_BYTES = 16;

export const FILE_NAMES = {
  envelope: 'manifest.dsse.json',
  proof: 'proof.json',
  checkpoint: 'checkpoint',
  keys: 'keys.json',
  /** Every leaf of the log, a line each. */
  log: 'log.jsonl',
  /** Every envelope of the log, a line each, in its order. */
  envelopes: 'manifests.jsonl',
} as const;

export interface EvidenceFile {
  readonly path: string;
  readonly bytes: Buffer;
}

export interface EvidenceFolder {
  readonly envelopes: readonly EvidenceFile[];
  readonly proofs: readonly EvidenceFile[];
  readonly checkpoints: readonly EvidenceFile[];
  readonly keys: readonly EvidenceFile[];
  readonly log: EvidenceFile | null;
  readonly envelopeLines: EvidenceFile | null;
  /** The file that has these bytes, wherever it is; else the one of that name beside the manifest; else null. */
  findPart(beside: string, name: string, part: { sizeBytes: number; sha256: string }): Promise<HashedFile | null>;
}

export async function readEvidenceFolder(folder: string, signal: AbortSignal): Promise<EvidenceFolder> {
  const found: Record<keyof typeof FILE_NAMES, EvidenceFile[]> = {
    ...{ envelope: [], proof: [], checkpoint: [], keys: [], log: [], envelopes: [] },
  };
  const sizes = new Map<string, number>();
  for await (const { path, size } of filesUnder(folder)) {
    signal.throwIfAborted();
    const kind = await kindOf(path, size);
    if (kind === null) sizes.set(path, size);
    else found[kind].push({ path, bytes: await readFile(path) });
  }
  const hashed = new Map<string, HashedFile>();
  const hashOf = async (path: string): Promise<HashedFile> => {
    const hash = hashed.get(path) ?? (await hashFile(path, signal));
    hashed.set(path, hash);
    return hash;
  };
  return {
    envelopes: found.envelope,
    proofs: found.proof,
    checkpoints: found.checkpoint,
    keys: found.keys,
    log: found.log[0] ?? null,
    envelopeLines: found.envelopes[0] ?? null,
    async findPart(beside, name, { sizeBytes, sha256 }) {
      const own = join(dirname(beside), basename(name));
      const sameSize = [...sizes].filter(([, size]) => size === sizeBytes).map(([path]) => path);
      // The file of that name first: nearly always it is the one, and no other has to be read.
      sameSize.sort((a, b) => Number(b === own) - Number(a === own));
      for (const path of sameSize) {
        const hash = await hashOf(path);
        if (hash.sha256 === sha256) return hash;
      }
      return sizes.has(own) ? await hashOf(own) : null;
    },
  };
}

async function* filesUnder(folder: string): AsyncGenerator<{ path: string; size: number }> {
  let count = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isDirectory()) continue;
    if (++count > FOLDER_LIMITS.maxFiles) {
      const message = `${folder} has more than ${FOLDER_LIMITS.maxFiles} files`;
      throw new CommandError('TOO_MANY_FILES', message, 'verify a folder with fewer');
    }
    const path = join(entry.parentPath, entry.name);
    const about = await stat(path).catch(() => null);
    if (about?.isFile()) yield { path, size: about.size };
  }
}

async function kindOf(path: string, size: number): Promise<keyof typeof FILE_NAMES | null> {
  const name = basename(path);
  if (name.endsWith('.dsse.json')) return 'envelope';
  const named = Object.entries(FILE_NAMES).find(([, known]) => known === name)?.[0];
  if (named !== undefined) return named as keyof typeof FILE_NAMES;
  if (size > FOLDER_LIMITS.maxEvidenceBytes) return null;
  // Most files are told by how they begin, and needn't be read.
  const head = await beginningOf(path);
  if (head.startsWith('{"payload":')) return openManifest(await readFile(path)) === undefined ? null : 'envelope';
  if (head.startsWith('{"hashes":')) return readProof(await readFile(path)) === undefined ? null : 'proof';
  if (size > FOLDER_LIMITS.maxCheckpointBytes) return null;
  return readTreeHead(await readFile(path)) === undefined ? null : 'checkpoint';
}

async function beginningOf(path: string): Promise<string> {
  await using file = await open(path, 'r');
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return buffer.toString('latin1', 0, bytesRead);
}
