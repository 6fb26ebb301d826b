// The sandbox's own signing key: made once, kept in the data folder, worth nothing outside of it.
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { readSigningKey, type SigningKey } from '../core/signing-key.ts';

export async function developmentKey(path: string): Promise<SigningKey> {
  await mkdir(dirname(path), { recursive: true });
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  // Only where there is none: another process of this folder may have been first, and its key is the one that counts.
  await writeFile(path, pem, { flag: 'wx', mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return readSigningKey(await readFile(path, 'utf8'));
}
