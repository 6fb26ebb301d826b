// Where the bytes of exports are kept, as the house sees it: the parts of an artifact, read from any offset.
export interface ArtifactStore {
  /** One part of an artifact, from 0; null where there are no such bytes. Close what was opened. */
  open(artifactId: string, part: number): Promise<StoredPart | null>;
  /** Removes all parts; nothing happens where there are none. */
  remove(artifactId: string): Promise<void>;
}

export interface StoredPart extends AsyncDisposable {
  readonly sizeBytes: number;
  /** The bytes from an offset to the end, in chunks of at most 1 MiB. A chunk is valid until the next is asked for. */
  read(offsetBytes: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
