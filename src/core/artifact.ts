// Where the bytes of exports are kept, as the house sees it: files of an artifact, read from any offset.
export interface ArtifactStore {
  /** One part of an artifact, by its file's name; null where there are no such bytes. Close what was opened. */
  open(artifactId: string, partName: string): Promise<StoredPart | null>;
  /**
   * Writes a part to its end and only then lets it be found; what a crash leaves behind is never opened.
   *
   * @throws TrueUpError DISK_FULL
   */
  write(
    artifactId: string,
    partName: string,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<{ sizeBytes: number; sha256: string }>;
  /** Removes all parts; nothing happens where there are none. */
  remove(artifactId: string): Promise<void>;
}

export interface StoredPart extends AsyncDisposable {
  readonly sizeBytes: number;
  /** The bytes from an offset to the end, in chunks of at most 1 MiB. A chunk is valid until the next is asked for. */
  read(offsetBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
