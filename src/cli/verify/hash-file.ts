// SHA-256 of a file of any size, in flat memory: one buffer is hashed while the next is read.
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const BUFFER_BYTES = 256 * 1024;

export interface HashedFile {
  readonly sha256: string;
  /** As many as were read. */
  readonly sizeBytes: number;
}

/** @throws signal.reason when aborted, and whatever the file system says */
export async function hashFile(path: string, signal: AbortSignal): Promise<HashedFile> {
  await using file = await open(path, 'r');
  const hash = createHash('sha256');
  let [filling, hashing] = [Buffer.allocUnsafeSlow(BUFFER_BYTES), Buffer.allocUnsafeSlow(BUFFER_BYTES)];
  let sizeBytes = 0;
  let reading = file.read(filling, 0, BUFFER_BYTES);
  for (;;) {
    const { bytesRead } = await reading;
    signal.throwIfAborted();
    if (bytesRead === 0) return { sha256: hash.digest('hex'), sizeBytes };
    [filling, hashing] = [hashing, filling];
    reading = file.read(filling, 0, BUFFER_BYTES);
    hash.update(bytesRead === BUFFER_BYTES ? hashing : hashing.subarray(0, bytesRead));
    sizeBytes += bytesRead;
  }
}
