// Artifacts as files: a folder for each under the data folder, a file for each part.
import { open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtifactStore, StoredPart } from '../core/artifact.ts';
import { TrueUpError } from '../core/errors.ts';
import { ArtifactWriter, partFileName } from './artifact-writer.ts';

const CHUNK_BYTES = 1024 * 1024;
/** Ids come from callers; what isn't one plain word is no folder of ours. */
const PLAIN = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,239}$/;

export interface FileArtifacts extends ArtifactStore {
  /** A new artifact, found by nobody before its writer has published it. @throws TrueUpError DISK_FULL, from the stream */
  create(artifactId: string): ArtifactWriter;
  /** Artifacts, drafts too, that were last written before a time. */
  writtenBefore(time: Date): Promise<string[]>;
}

export function createFileArtifacts(folder: string, partBytes?: number): FileArtifacts {
  const folderOf = (artifactId: string): string => join(folder, plain(artifactId));
  return {
    create: (artifactId) => new ArtifactWriter(folderOf(artifactId), partBytes),

    async open(artifactId, part) {
      try {
        return await openPart(join(folderOf(artifactId), partFileName(part)));
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },

    async remove(artifactId) {
      await rm(folderOf(artifactId), { recursive: true, force: true });
      await rm(join(folder, `.${plain(artifactId)}`), { recursive: true, force: true });
    },

    async writtenBefore(time) {
      const names = await readdir(folder).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw error;
      });
      const found = new Set<string>();
      for (const name of names) {
        const { mtime } = await stat(join(folder, name));
        if (mtime < time) found.add(name.replace(/^\./, ''));
      }
      return [...found];
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

function plain(word: string): string {
  if (PLAIN.test(word)) return word;
  throw new TrueUpError('INVALID_REQUEST', `${JSON.stringify(word)} names no artifact`);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
