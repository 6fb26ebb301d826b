// Keys that evidence may be signed with: the present one, those before it with their last day, and those that were revoked.
import { TrueUpError } from './errors.ts';
import { isJsonObject, type Json } from './jcs.ts';
import { type PublicKey, readPublicKey } from './signing-key.ts';

export interface RingKey extends PublicKey {
  /** What was signed later isn't taken; null: it is in use. */
  readonly notAfter: Date | null;
  /** Nothing it signed is taken any more; null: it wasn't revoked. */
  readonly revokedAt: Date | null;
}

export type KeyRing = ReadonlyMap<string, RingKey>;

/** More keys than years of monthly rotation need. */
export const maxRingKeys = 1_000;

export function keyRing(keys: Iterable<RingKey>): KeyRing {
  return new Map(Array.from(keys, (key) => [key.keyId, key]));
}

export function inUse(key: PublicKey): RingKey {
  return { ...key, notAfter: null, revokedAt: null };
}

/**
 * Reads `{"keys":[{"publicKeyPem": ..., "notAfter"?: ..., "revokedAt"?: ...}]}`, or a single PEM.
 *
 * @throws TrueUpError INVALID_CONFIGURATION naming the key by its place
 */
export function parseKeyRing(text: string): RingKey[] {
  if (text.trimStart().startsWith('-----BEGIN')) return [inUse(readPublicKey(text))];
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw refusal('the file is neither JSON nor PEM');
  }
  const keys: unknown = isJsonObject(document) ? document['keys'] : undefined;
  if (!Array.isArray(keys)) throw refusal('the file has no list `keys`');
  if (keys.length > maxRingKeys) throw refusal(`the file has more than ${maxRingKeys} keys`);
  return keys.map((key: unknown, index) => {
    const where = `keys[${index}]`;
    if (!isJsonObject(key) || typeof key['publicKeyPem'] !== 'string') throw refusal(`${where} has no publicKeyPem`);
    return {
      ...readPublicKey(key['publicKeyPem']),
      notAfter: timeOf(key['notAfter'], `${where}.notAfter`),
      revokedAt: timeOf(key['revokedAt'], `${where}.revokedAt`),
    };
  });
}

/** The same form, for a bundle. */
export function ringDocument(ring: KeyRing): Json {
  return {
    keys: Array.from(ring.values(), ({ keyId, pem, notAfter, revokedAt }) => ({
      keyId,
      publicKeyPem: pem,
      ...(notAfter && { notAfter: notAfter.toISOString() }),
      ...(revokedAt && { revokedAt: revokedAt.toISOString() }),
    })),
  };
}

/** Why what this key signed at a time isn't taken; null: it is. */
export function objectionTo(key: RingKey, signedAt: Date | null): string | null {
  if (key.revokedAt !== null) return `key ${key.keyId} was revoked at ${key.revokedAt.toISOString()}`;
  if (key.notAfter !== null && signedAt !== null && signedAt > key.notAfter)
    return `key ${key.keyId} was in use until ${key.notAfter.toISOString()} and signed this at ${signedAt.toISOString()}`;
  return null;
}

function timeOf(value: unknown, where: string): Date | null {
  if (value === undefined || value === null) return null;
  const time = new Date(typeof value === 'string' ? value : Number.NaN);
  if (Number.isNaN(time.getTime())) throw refusal(`${where} is no time; write 2026-12-31T00:00:00Z`);
  return time;
}

function refusal(what: string): TrueUpError {
  return new TrueUpError('INVALID_CONFIGURATION', `the list of keys can't be read: ${what}`, {
    fix: 'write {"keys":[{"publicKeyPem":"-----BEGIN PUBLIC KEY-----\\n...","notAfter":"2026-12-31T00:00:00Z"}]}',
  });
}
