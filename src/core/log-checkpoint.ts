// A checkpoint of the evidence log: its name, size and root in a signed note (C2SP tlog-checkpoint).
import { readBase64 } from './base64.ts';
import type { Hash } from './merkle.ts';
import { readNote, signNote, type Note } from './signed-note.ts';
import type { SigningKey } from './signing-key.ts';

export interface TreeHead {
  /** Name of the log. */
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
}

export interface SignedTreeHead extends TreeHead {
  readonly note: Note;
}

const HASH_BYTES = 32;

export function signTreeHead({ origin, size, root }: TreeHead, key: SigningKey): string {
  return signNote(`${origin}\n${size}\n${root.toString('base64')}\n`, origin, key);
}

/** Undefined for bytes that are no checkpoint as we write it: three lines and signatures. */
export function readTreeHead(bytes: Uint8Array): SignedTreeHead | undefined {
  const note = readNote(bytes);
  const [origin = '', sizeText = '', rootText = '', ...rest] = note?.text.split('\n') ?? [];
  const size = readCount(sizeText);
  const root = readBase64(rootText);
  if (note === undefined || origin === '' || size === undefined || root?.length !== HASH_BYTES) return undefined;
  return rest.length === 1 && rest[0] === '' ? { origin, size, root, note } : undefined;
}

/** A decimal without leading zeros, small enough to be exact. */
export function readCount(text: string): number | undefined {
  const value = /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}
