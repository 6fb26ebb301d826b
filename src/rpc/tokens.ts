// The tokens file: who may call, known only by the hash of a secret. Read again when it changes.
import { hash as hashOnce, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { TrueUpError, messageOf } from '../core/errors.ts';
import { ACCESS_ROLES, type AccessRole, type Authenticator, type Caller } from './roles.ts';

export const TOKEN_LIMITS = {
  maxFileBytes: 1024 * 1024,
  maxTokens: 1_000,
  maxPresentedChars: 4_096,
  /** How long a change of the file may go unnoticed. */
  reloadCheckMs: 1_000,
} as const;

export interface TokenRecord extends Caller {
  /** SHA-256 of the token, 32 bytes. */
  readonly hash: Buffer;
}

export interface TokensFileOptions {
  readonly path: string;
  /** Called once for each failed reload; the tokens read before stay in force. */
  readonly onReloadFailed: (error: unknown) => void;
  readonly onReloaded?: (count: number) => void;
  /** Milliseconds from any fixed point; tests move it. */
  readonly now?: () => number;
}

/**
 * Callers by the file's tokens. The file is looked at again, at most once per reloadCheckMs, when a call comes in; one
 * that has become unreadable or wrong leaves the former tokens in force, because a slip of the pen must not lock
 * everybody out, and is reported.
 *
 * @throws TrueUpError INVALID_CONFIGURATION when the file can't be read or understood at the start.
 */
export function createTokensFile(options: TokensFileOptions): Authenticator {
  const now = options.now ?? (() => performance.now());
  let tokens = readTokens(options.path);
  let stamp = stampOf(options.path);
  let lastCheckAtMs = now();

  function reloadIfChanged(): void {
    const at = now();
    if (at - lastCheckAtMs < TOKEN_LIMITS.reloadCheckMs) return;
    lastCheckAtMs = at;
    const newStamp = stampOf(options.path);
    if (newStamp === stamp) return;
    stamp = newStamp;
    try {
      tokens = readTokens(options.path);
      options.onReloaded?.(tokens.length);
    } catch (error) {
      options.onReloadFailed(error);
    }
  }

  return {
    authenticate(authorization) {
      reloadIfChanged();
      return find(tokens, bearerToken(authorization));
    },
  };
}

/**
 * Where no tokens are configured, whoever calls from this machine is `anonymous` and may do everything, and nobody
 * else may do anything; the ports then bind loopback only.
 */
export const anonymousOnLoopback: Authenticator = {
  authenticate(_authorization, peerAddress) {
    if (isLoopbackAddress(peerAddress)) return { name: 'anonymous', role: 'admin' };
    throw new TrueUpError('UNAUTHENTICATED', 'without tokens only callers on this machine are served', {
      fix: 'set TRUEUP_TOKENS_FILE and send `authorization: Bearer TOKEN`',
    });
  },
};

/** @throws TrueUpError INVALID_CONFIGURATION naming every bad line. */
export function parseTokens(text: string, path: string): TokenRecord[] {
  const tokens: TokenRecord[] = [];
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/#.*$/, '').trim();
    if (line === '') continue;
    const parsed = parseLine(line);
    if (typeof parsed === 'string') problems.push(`line ${index + 1}: ${parsed}`);
    else if (seen.has(parsed.hash.toString('hex')))
      problems.push(`line ${index + 1}: the same token stands on a line above`);
    else {
      seen.add(parsed.hash.toString('hex'));
      tokens.push(parsed);
    }
  }
  if (tokens.length > TOKEN_LIMITS.maxTokens) problems.push(`more than ${TOKEN_LIMITS.maxTokens} tokens`);
  if (tokens.length === 0 && problems.length === 0) problems.push('it has no token, so nobody could call');
  if (problems.length > 0) {
    throw new TrueUpError('INVALID_CONFIGURATION', `tokens file ${path}: ${problems.slice(0, 20).join('; ')}`, {
      fix: 'write lines of `name role sha256:HEX`, where role is read, operate or admin',
    });
  }
  return tokens;
}

function parseLine(line: string): TokenRecord | string {
  const [name, role, digest, ...rest] = line.split(/\s+/);
  if (!name || !role || !digest || rest.length > 0) return 'expected `name role sha256:HEX`';
  if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/.test(name))
    return 'the name may hold letters, digits and . _ @ -, at most 64';
  if (name === 'anonymous' || name === 'trueup') return `the name ${name} is taken by the service itself`;
  if (!(ACCESS_ROLES as readonly string[]).includes(role)) return `the role is none of ${ACCESS_ROLES.join(', ')}`;
  const hex = /^sha256:([0-9a-fA-F]{64})$/.exec(digest)?.[1];
  if (!hex) return 'the hash is not sha256: and 64 hex digits';
  return { name, role: role as AccessRole, hash: Buffer.from(hex, 'hex') };
}

function readTokens(path: string): TokenRecord[] {
  let text: string;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > TOKEN_LIMITS.maxFileBytes)
      throw new Error(`it is larger than ${TOKEN_LIMITS.maxFileBytes} bytes`);
    text = bytes.toString('utf8');
  } catch (error) {
    throw new TrueUpError('INVALID_CONFIGURATION', `tokens file ${path} can't be read: ${messageOf(error)}`, {
      fix: 'correct TRUEUP_TOKENS_FILE or the permissions of the file',
      cause: error,
    });
  }
  return parseTokens(text, path);
}

/** Changes whenever the file is written or replaced; `absent` while it isn't there. */
function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? 'absent' : `${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}

function bearerToken(authorization: string | undefined): string {
  const token = /^Bearer +([^\s]+) *$/i.exec(authorization ?? '')?.[1];
  if (!token || token.length > TOKEN_LIMITS.maxPresentedChars) {
    throw new TrueUpError('UNAUTHENTICATED', 'the call carries no token', {
      fix: 'send `authorization: Bearer TOKEN`',
    });
  }
  return token;
}

// Every record is compared, found or not: the time taken says nothing about which one came near.
function find(tokens: readonly TokenRecord[], presented: string): Caller {
  const hash = hashOnce('sha256', presented, 'buffer');
  let caller: Caller | undefined;
  for (const token of tokens) {
    if (timingSafeEqual(hash, token.hash)) caller = token;
  }
  if (caller) return { name: caller.name, role: caller.role };
  throw new TrueUpError('UNAUTHENTICATED', 'the token is not known', {
    fix: 'use a token whose SHA-256 stands in the tokens file',
  });
}

/** 127.0.0.0/8, ::1 and their mapped forms, with or without a port. */
export function isLoopbackAddress(peer: string): boolean {
  const address = peer.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^::ffff:/i, '');
  return address === '::1' || /^::1:\d+$/.test(address) || /^127(\.\d{1,3}){3}(:\d+)?$/.test(address);
}
