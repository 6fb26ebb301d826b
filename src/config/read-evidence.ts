// Evidence: what it is signed with, where it is kept, and for how long.
import { messageOf } from '../core/errors.ts';
import { type KeyRing, keyRing, inUse, parseKeyRing, type RingKey } from '../core/key-ring.ts';
import { readSigningKey, type SigningKey } from '../core/signing-key.ts';
import type { Config } from './config.ts';
import type { Problems } from './problems.ts';
import type { NamedFiles } from './read-config.ts';
import type { VariableValues } from './variables.ts';

export function readEvidence(
  values: VariableValues,
  files: NamedFiles,
  problems: Problems,
  warnings: string[],
): { evidence: Config['evidence']; signingKeyPem: string | null } {
  const signingKeyPem = readPem(values, files, problems);
  const signing = signingKeyPem === null ? null : checkedKey(signingKeyPem, values, problems);
  if (values.manifestStorage === 'memory')
    warnings.push('EXPORT_MANIFEST_STORAGE=memory: manifests and their log are lost when this process ends');
  return {
    signingKeyPem,
    evidence: {
      keys: ringOf(signing, readOthers(values, files, problems)),
      storage: values.manifestStorage,
      sealIntervalMs: values.sealIntervalSecs * 1000,
      keepCount: values.manifestRetention,
      keepDays: values.manifestRetentionDays,
    },
  };
}

function readPem(values: VariableValues, files: NamedFiles, problems: Problems): string | null {
  if (values.signingKey !== null && values.signingKeyFile !== null) {
    problems.add('TRUEUP_SIGNING_KEY', 'is set, and so is TRUEUP_SIGNING_KEY_FILE. Fix: keep one of them.');
    return null;
  }
  if (values.signingKeyFile !== null) return files.read('TRUEUP_SIGNING_KEY_FILE', values.signingKeyFile) ?? null;
  // Many places that hold variables can't hold line breaks.
  return values.signingKey?.replaceAll('\\n', '\n') ?? null;
}

function checkedKey(pem: string, values: VariableValues, problems: Problems): SigningKey | null {
  try {
    return readSigningKey(pem);
  } catch (error) {
    const variable = values.signingKeyFile === null ? 'TRUEUP_SIGNING_KEY' : 'TRUEUP_SIGNING_KEY_FILE';
    problems.add(variable, `holds no key: ${messageOf(error)}. Fix: openssl genpkey -algorithm ed25519 -out FILE.`);
    return null;
  }
}

function readOthers(values: VariableValues, files: NamedFiles, problems: Problems): RingKey[] {
  if (values.verifyKeysFile === null) return [];
  const text = files.read('TRUEUP_VERIFY_KEYS', values.verifyKeysFile);
  if (text === undefined) return [];
  try {
    return parseKeyRing(text);
  } catch (error) {
    problems.add('TRUEUP_VERIFY_KEYS', `${messageOf(error)}. Fix: see docs/evidence.md for the form of the file.`);
    return [];
  }
}

/** What the list says of the present key counts too: it may have been revoked. */
function ringOf(signing: SigningKey | null, others: readonly RingKey[]): KeyRing {
  return keyRing([...(signing === null ? [] : [inUse(signing)]), ...others]);
}
