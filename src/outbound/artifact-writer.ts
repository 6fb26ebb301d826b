// Writing an artifact: bytes into files of at most one part's size, hashed on their way, and none of it visible before all of it is
// on the disk.
import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { TrueUpError } from '../core/errors.ts';

/** Small enough for a browser to hash one whole, large enough that few artifacts have several. */
export const ARTIFACT_PART_BYTES = 64 * 1024 * 1024;

export interface WrittenArtifact {
  readonly sizeBytes: number;
  /** Of all bytes, one part after another; 64 hex digits. */
  readonly sha256: string;
  /** At least one, also of an empty artifact. */
  readonly parts: readonly { readonly sizeBytes: number; readonly sha256: string }[];
}

/**
 * A stream into `folder`, which must not be there yet. After `finished`, `publish` gives the files their place in one step;
 * without it nothing is ever seen.
 */
export class ArtifactWriter extends Writable {
  readonly #folder: string;
  readonly #draft: string;
  readonly #partBytes: number;
  readonly #whole: Hash = createHash('sha256');
  readonly #parts: { sizeBytes: number; sha256: string }[] = [];
  #part: { file: FileHandle; hash: Hash; sizeBytes: number } | null = null;
  #sizeBytes = 0;

  constructor(folder: string, partBytes: number = ARTIFACT_PART_BYTES) {
    super({ highWaterMark: 1024 * 1024 });
    this.#folder = folder;
    this.#draft = join(dirname(folder), `.${basename(folder)}`);
    this.#partBytes = partBytes;
  }

  get writtenBytes(): number {
    return this.#sizeBytes;
  }

  override _construct(done: (error?: Error | null) => void): void {
    settle(
      (async () => {
        await rm(this.#draft, { recursive: true, force: true });
        await mkdir(this.#draft, { recursive: true, mode: 0o750 });
        await this.#openPart();
      })(),
      done,
    );
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    settle(this.#append([chunk]), done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    settle(this.#append(chunks.map(({ chunk }) => chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    settle(this.#closePart(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    settle(
      (async () => {
        await this.#part?.file.close();
        this.#part = null;
        if (error !== null) await rm(this.#draft, { recursive: true, force: true });
      })(),
      (failed) => done(error ?? failed),
    );
  }

  /** After the stream has finished. */
  async publish(): Promise<WrittenArtifact> {
    await rename(this.#draft, this.#folder);
    await syncFolder(dirname(this.#folder));
    return { sizeBytes: this.#sizeBytes, sha256: this.#whole.digest('hex'), parts: this.#parts };
  }

  /** For one that has finished and is not wanted: cancelled at the last moment. */
  async discard(): Promise<void> {
    await rm(this.#draft, { recursive: true, force: true });
  }

  async #append(chunks: readonly Buffer[]): Promise<void> {
    for (const chunk of chunks) {
      this.#whole.update(chunk);
      this.#sizeBytes += chunk.length;
      for (let at = 0; at < chunk.length;) {
        if (this.#part!.sizeBytes === this.#partBytes) {
          await this.#closePart();
          await this.#openPart();
        }
        const piece = chunk.subarray(at, at + this.#partBytes - this.#part!.sizeBytes);
        this.#part!.hash.update(piece);
        // Whole: write() may stop early on a disk that is nearly full.
        await this.#part!.file.writeFile(piece);
        this.#part!.sizeBytes += piece.length;
        at += piece.length;
      }
    }
  }

  async #openPart(): Promise<void> {
    const path = join(this.#draft, partFileName(this.#parts.length));
    this.#part = { file: await open(path, 'wx', 0o640), hash: createHash('sha256'), sizeBytes: 0 };
  }

  async #closePart(): Promise<void> {
    const { file, hash, sizeBytes } = this.#part!;
    await file.sync();
    await file.close();
    this.#part = null;
    this.#parts.push({ sizeBytes, sha256: hash.digest('hex') });
  }
}

export function partFileName(index: number): string {
  return `part-${String(index + 1).padStart(4, '0')}`;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function settle(work: Promise<void>, done: (error?: Error | null) => void): void {
  work.then(
    () => done(),
    (error: unknown) => done(readable(error as NodeJS.ErrnoException)),
  );
}

function readable(error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ENOSPC' && error.code !== 'EDQUOT') return error;
  return new TrueUpError('DISK_FULL', 'the disk of the artifacts is full', {
    fix: 'give it room, or lower EXPORT_MANIFEST_RETENTION; then start the export again',
    cause: error,
  });
}
