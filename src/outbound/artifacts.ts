// Artifacts as files: a folder for each under the data folder.
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactStore, StoredPart } from '../core/artifact.ts';
import { TrueUpError } from '../core/errors.ts';

const CHUNK_BYTES = 1024 * 1024;
/** Ids and names come from callers; what isn't one plain word is no file of ours. */
const PLAIN = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,239}$/;
const UNFINISHED = '~unfinished';

export function createFileArtifacts(folder: string): ArtifactStore {
  const folderOf = (artifactId: string): string => join(folder, plain(artifactId));
  return {
    async open(artifactId, partName) {
      try {
        return await openPart(join(folderOf(artifactId), plain(partName)));
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return null;
        throw error;
      }
    },

    async write(artifactId, partName, chunks) {
      const path = join(folderOf(artifactId), plain(partName));
      const hash = createHash('sha256');
      let sizeBytes = 0;
      try {
        await mkdir(folderOf(artifactId), { recursive: true, mode: 0o700 });
        {
          await using file = await open(path + UNFINISHED, 'w', 0o600);
          for await (const chunk of chunks) {
            hash.update(chunk);
            sizeBytes += chunk.length;
            await file.writeFile(chunk);
          }
          await file.sync();
        }
        await rename(path + UNFINISHED, path);
        await syncFolder(folderOf(artifactId));
      } catch (error) {
        if (codeOf(error) !== 'ENOSPC') throw error;
        throw new TrueUpError('DISK_FULL', `there is no room for the artifact in ${folder}`, {
          fix: 'make room, or set TRUEUP_DATA_DIR to a larger disk',
          cause: error,
        });
      }
      return { sizeBytes, sha256: hash.digest('hex') };
    },

    async remove(artifactId) {
      await rm(folderOf(artifactId), { recursive: true, force: true });
    },
  };
}

async function openPart(path: string): Promise<StoredPart> {
  const file = await open(path, 'r');
  const { size } = await file.stat();
  return {
    sizeBytes: size,
    async *read(offsetBytes, signal) {
      const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      for (let at = offsetBytes; ;) {
        signal.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** A rename is on the disk once its folder is. */
async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}

function plain(word: string): string {
  if (PLAIN.test(word)) return word;
  throw new TrueUpError('INVALID_REQUEST', `${JSON.stringify(word)} names no artifact`);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
