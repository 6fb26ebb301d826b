// Signed notes as C2SP has them: a text, an empty line, and a line for each signature.
import { createHash } from 'node:crypto';
import { readBase64 } from './base64.ts';
import type { PublicKey, SigningKey } from './signing-key.ts';

export interface NoteSignature {
  readonly name: string;
  /** The first 4 bytes of what names the key, hex. */
  readonly keyHash: string;
  readonly signature: Buffer;
}

export interface Note {
  /** Ends with a newline; the bytes that were signed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const ED25519 = 1;
const KEY_HASH_BYTES = 4;
/** More than any checkpoint has; a note that claims more isn't read. */
const maxNoteBytes = 64 * 1024;
const SIGNATURE_LINE = /^— ([^\s+]+) (\S+)$/u;

/** SHA-256 of name, newline, algorithm and public key; its first 4 bytes, hex. */
export function noteKeyHash(name: string, key: PublicKey): string {
  return createHash('sha256')
    .update(`${name}\n`)
    .update(Buffer.from([ED25519]))
    .update(key.raw)
    .digest('hex')
    .slice(0, 2 * KEY_HASH_BYTES);
}

/** @param text ends with a newline */
export function signNote(text: string, name: string, key: SigningKey): string {
  const signature = Buffer.concat([Buffer.from(noteKeyHash(name, key), 'hex'), key.sign(Buffer.from(text))]);
  return `${text}\n— ${name} ${signature.toString('base64')}\n`;
}

/** Undefined for bytes that are no signed note. */
export function readNote(bytes: Uint8Array): Note | undefined {
  if (bytes.length > maxNoteBytes) return undefined;
  const whole = Buffer.from(bytes).toString('utf8');
  const end = whole.lastIndexOf('\n\n');
  // A byte that isn't UTF-8 would be replaced, and the text be another one than was signed.
  if (end < 0 || !whole.endsWith('\n') || !Buffer.from(whole).equals(bytes)) return undefined;
  const lines = whole.slice(end + 2, -1).split('\n');
  const signatures = lines.map((line) => {
    const [, name, encoded] = SIGNATURE_LINE.exec(line) ?? [];
    const decoded = encoded === undefined ? undefined : readBase64(encoded);
    if (name === undefined || decoded === undefined || decoded.length <= KEY_HASH_BYTES) return undefined;
    return {
      name,
      keyHash: decoded.subarray(0, KEY_HASH_BYTES).toString('hex'),
      signature: decoded.subarray(KEY_HASH_BYTES),
    };
  });
  if (!signatures.every((signature) => signature !== undefined)) return undefined;
  return { text: whole.slice(0, end + 1), signatures };
}
