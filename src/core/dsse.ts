// DSSE: a payload and signatures over its type and bytes, as one JSON object.
import { readBase64 } from './base64.ts';
import { canonicalBytes, isJsonObject, readCanonical } from './jcs.ts';
import type { SigningKey } from './signing-key.ts';

export interface Envelope {
  readonly payloadType: string;
  readonly payload: Buffer;
  readonly keyId: string;
  readonly signature: Buffer;
}

/** The pre-authentication encoding: the bytes that are signed. */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

export function signEnvelope(payloadType: string, payload: Uint8Array, key: SigningKey): Buffer {
  const sig = key.sign(preAuthEncoding(payloadType, payload)).toString('base64');
  return canonicalBytes({
    payload: Buffer.from(payload).toString('base64'),
    payloadType,
    signatures: [{ keyid: key.keyId, sig }],
  });
}

/** An envelope as we write it: canonical, with one signature. Undefined for any other bytes. */
export function readEnvelope(bytes: Uint8Array): Envelope | undefined {
  const document = readCanonical(bytes);
  if (!isJsonObject(document)) return undefined;
  const { payload: payloadText, payloadType, signatures, ...rest } = document;
  if (typeof payloadText !== 'string' || typeof payloadType !== 'string' || Object.keys(rest).length > 0)
    return undefined;
  const [signature, ...more] = Array.isArray(signatures) ? (signatures as readonly unknown[]) : [];
  if (!isJsonObject(signature) || more.length > 0) return undefined;
  const { keyid, sig, ...unknown } = signature;
  if (typeof keyid !== 'string' || typeof sig !== 'string' || Object.keys(unknown).length > 0) return undefined;
  const [payload, signatureBytes] = [readBase64(payloadText), readBase64(sig)];
  if (payload === undefined || signatureBytes === undefined) return undefined;
  return { payloadType, payload, keyId: keyid, signature: signatureBytes };
}
