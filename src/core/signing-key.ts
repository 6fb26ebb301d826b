// Ed25519 keys (RFC 8032) as PEM: what signs evidence, and what it is checked with.
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { TrueUpError } from './errors.ts';

const RAW_BYTES = 32;
export const SIGNATURE_BYTES = 64;

export interface PublicKey {
  /** SHA-256 of the public key's DER form (SubjectPublicKeyInfo), hex: `openssl pkey -pubin -outform DER | openssl dgst -sha256`. */
  readonly keyId: string;
  readonly pem: string;
  /** 32 bytes. */
  readonly raw: Buffer;
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

export interface SigningKey extends PublicKey {
  sign(message: Uint8Array): Buffer;
}

/** @throws TrueUpError INVALID_CONFIGURATION; the message never holds any of the text. */
export function readSigningKey(pem: string): SigningKey {
  const key = parse(() => createPrivateKey(pem), 'a private Ed25519 key in PEM form (PKCS #8)');
  return { ...publicKeyOf(createPublicKey(key)), sign: (message) => sign(null, message, key) };
}

/** @throws TrueUpError INVALID_CONFIGURATION */
export function readPublicKey(pem: string): PublicKey {
  // A private key has a public one too, but has no business among those that are handed around.
  return publicKeyOf(
    parse(() => {
      if (pem.includes('PRIVATE')) throw new Error('private');
      return createPublicKey(pem);
    }, 'a public Ed25519 key in PEM form'),
  );
}

function publicKeyOf(key: KeyObject): PublicKey {
  const der = key.export({ type: 'spki', format: 'der' });
  return {
    keyId: createHash('sha256').update(der).digest('hex'),
    pem: key.export({ type: 'spki', format: 'pem' }) as string,
    raw: der.subarray(der.length - RAW_BYTES),
    verify: (message, signature) => signature.length === SIGNATURE_BYTES && verify(null, message, key, signature),
  };
}

function parse(read: () => KeyObject, expected: string): KeyObject {
  try {
    const key = read();
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Falls through: what was read may be a secret, so nothing of it is repeated.
  }
  throw new TrueUpError('INVALID_CONFIGURATION', `this is not ${expected}`, {
    fix: 'make one with: openssl genpkey -algorithm ed25519 -out signing-key.pem',
  });
}
