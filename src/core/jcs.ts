// Canonical JSON (RFC 8785): one value, one spelling, so that the bytes of a document can be hashed and signed.
//
// The RFC is defined by what JSON.stringify writes for numbers and strings; what is left to do is the order of keys (by UTF-16
// units, which is JavaScript's own) and the refusal of what JSON can't say.
import { TrueUpError } from './errors.ts';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };
export type JsonObject = { readonly [key: string]: Json | undefined };

/** Properties that are undefined are left out. @throws TrueUpError INTERNAL for NaN, infinities and lone surrogates. */
export function canonicalJson(value: Json): string {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TrueUpError('INTERNAL', 'a lone surrogate has no canonical JSON');
    return JSON.stringify(value);
  }
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new TrueUpError('INTERNAL', `${value} has no canonical JSON`);
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  let members = '';
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member !== undefined) members += `${members === '' ? '' : ','}${canonicalJson(key)}:${canonicalJson(member)}`;
  }
  return `{${members}}`;
}

export function canonicalBytes(value: Json): Buffer {
  return Buffer.from(canonicalJson(value));
}

/** The value of bytes that are canonical JSON to the last one; undefined for all others, so that no byte is left uncovered. */
export function readCanonical(bytes: Uint8Array): Json | undefined {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)) as Json;
    return canonicalBytes(value).equals(bytes) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isArray(value: object): value is readonly Json[] {
  return Array.isArray(value);
}
