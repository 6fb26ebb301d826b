// Goal: what we sign is what the specifications say, so that others' tools can check it. Method: the vectors of RFC 8032, of DSSE
// and of C2SP's signed notes; openssl is the other side in test/evidence.
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newKey, newKeyPem } from '../../test/_util/evidence-samples.ts';
import { preAuthEncoding, readEnvelope, signEnvelope } from './dsse.ts';
import { objectionTo, parseKeyRing } from './key-ring.ts';
import { readTreeHead, signTreeHead } from './log-checkpoint.ts';
import { noteKeyHash, readNote } from './signed-note.ts';
import { readPublicKey, readSigningKey } from './signing-key.ts';

/** A key of RFC 8032 is its 32 bytes; PKCS #8 puts this before them. */
const pkcs8 = (seed: string): string =>
  createPrivateKey({
    key: Buffer.from(`302e020100300506032b657004220420${seed}`, 'hex'),
    format: 'der',
    type: 'pkcs8',
  }).export({ type: 'pkcs8', format: 'pem' }) as string;
const spki = (raw: Buffer): string =>
  createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]),
    format: 'der',
    type: 'spki',
  }).export({ type: 'spki', format: 'pem' }) as string;

// RFC 8032, 7.1: secret key, public key, message, signature.
it.each([
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
])('signs as RFC 8032 with key %.8s', (secret, publicKey, message, signature) => {
  const key = readSigningKey(pkcs8(secret));
  const bytes = Buffer.from(message, 'hex');
  expect(key.raw.toString('hex')).toBe(publicKey);
  expect(key.sign(bytes).toString('hex')).toBe(signature);
  expect(key.verify(bytes, Buffer.from(signature, 'hex'))).toBe(true);
  expect(key.verify(Buffer.concat([bytes, Buffer.from([0])]), Buffer.from(signature, 'hex'))).toBe(false);
});

it("encodes as DSSE's own example", () => {
  const encoded = preAuthEncoding('http://example.com/HelloWorld', Buffer.from('hello world'));
  expect(encoded.toString()).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
});

describe('an envelope', () => {
  const key = newKey();
  const bytes = signEnvelope('text/plain', Buffer.from('hello'), key);

  it('carries its payload and who signed it', () => {
    const envelope = readEnvelope(bytes)!;
    expect(envelope.payload.toString()).toBe('hello');
    expect(envelope.keyId).toBe(key.keyId);
    expect(key.verify(preAuthEncoding('text/plain', envelope.payload), envelope.signature)).toBe(true);
  });

  it('has one spelling: blanks, other fields and spare bits of base64 are refused', () => {
    const text = bytes.toString();
    // "aGVsbG8=" ends in two spare bits; "aGVsbG9=" decodes to the same bytes.
    expect(text).toContain('"aGVsbG8="');
    for (const other of [
      ` ${text}`,
      `${text}\n`,
      text.replace('"payload"', '"a":1,"payload"'),
      text.replace('aGVsbG8=', 'aGVsbG9='),
      text.replace('aGVsbG8=', 'aGVsbG8'),
    ])
      expect(readEnvelope(Buffer.from(other))).toBeUndefined();
  });
});

describe('a signed note', () => {
  // golang.org/x/mod/sumdb/note and C2SP signed-note: this verifier key, text and signature.
  const raw = Buffer.from('ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'.slice(0), 'base64').subarray(1);
  const note =
    'If you think cryptography is the answer to your problem,\n' +
    "then you don't know what your problem is.\n\n" +
    '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';

  it("checks as the Go project's example does", () => {
    const key = readPublicKey(spki(raw));
    const { text, signatures } = readNote(Buffer.from(note))!;
    expect(signatures).toHaveLength(1);
    expect(signatures[0]).toMatchObject({ name: 'PeterNeumann', keyHash: 'c74f20a3' });
    expect(noteKeyHash('PeterNeumann', key)).toBe('c74f20a3');
    expect(key.verify(Buffer.from(text), signatures[0]!.signature)).toBe(true);
  });

  it('carries a checkpoint of three lines', () => {
    const key = newKey();
    const head = { origin: 'example.com/log', size: 5, root: Buffer.alloc(32, 7) };
    const bytes = Buffer.from(signTreeHead(head, key));
    expect(readTreeHead(bytes)).toMatchObject(head);
    expect(bytes.toString().split('\n').slice(0, 3)).toEqual(['example.com/log', '5', head.root.toString('base64')]);
    for (const other of ['05', '-1', '5 ', '9007199254740993'])
      expect(readTreeHead(Buffer.from(bytes.toString().replace('\n5\n', `\n${other}\n`)))).toBeUndefined();
  });
});

describe('keys', () => {
  it('are refused with the way to make one, and without any of their text', () => {
    for (const text of ['hunter2', '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n']) {
      expect(() => readSigningKey(text)).toThrow(/private Ed25519 key in PEM/);
      expect(() => readSigningKey(text)).not.toThrow(/hunter2/);
    }
    expect(() => readPublicKey(newKeyPem())).toThrow(/public Ed25519 key/);
  });

  it('rotate with an overlap, and are revoked whole', () => {
    const key = newKey();
    const text = (more: object): string => JSON.stringify({ keys: [{ publicKeyPem: key.pem, ...more }] });
    const [retired] = parseKeyRing(text({ notAfter: '2026-06-30T00:00:00Z' }));
    expect(objectionTo(retired!, new Date('2026-06-29T00:00:00Z'))).toBeNull();
    expect(objectionTo(retired!, new Date('2026-07-01T00:00:00Z'))).toMatch('in use until');
    const [revoked] = parseKeyRing(text({ revokedAt: '2026-06-30T00:00:00Z' }));
    expect(objectionTo(revoked!, new Date('2020-01-01T00:00:00Z'))).toMatch('revoked');
    expect(parseKeyRing(key.pem)[0]!.keyId).toBe(key.keyId);
    expect(() => parseKeyRing(text({ notAfter: 'soon' }))).toThrow('keys[0].notAfter');
  });
});
