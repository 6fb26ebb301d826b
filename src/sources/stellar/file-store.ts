// Where file-shaped histories lie: a folder or a web host, read by the same few names.
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { messageOf, TrueUpError } from '../../core/errors.ts';
import type { HttpClient } from '../http/types.ts';

export interface StoredFile {
  readonly bytes: Buffer;
  readonly bytesRead: number;
}

/** Read-only; every path is relative, with forward slashes. */
export interface FileStore {
  /** The host, or the folder's name; never credentials. */
  readonly label: string;
  /** The file, or undefined where there is none. @throws TrueUpError for any other failure. */
  get(path: string, maxBytes: number, signal: AbortSignal): Promise<StoredFile | undefined>;
  /** Names in a folder, or undefined where it can't be listed (a web host) or doesn't exist. */
  list(path: string): Promise<readonly string[] | undefined>;
}

/**
 * @param url `file:` or `https:` (`http:` too: the client decides which hosts it may call).
 * @throws TrueUpError INVALID_CONFIGURATION
 */
export function openFileStore(url: string, http: Pick<HttpClient, 'getBytes'> | undefined, variable: string): FileStore {
  let parsed: URL;
  try {
    parsed = new URL(url.endsWith('/') ? url : `${url}/`);
  } catch (cause) {
    throw badUrl(variable, 'is no URL', cause);
  }
  if (parsed.protocol === 'file:') return folderStore(fileURLToPath(parsed));
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') {
    throw badUrl(variable, `begins with ${parsed.protocol}, which is none of file:, https:`);
  }
  if (http === undefined) throw badUrl(variable, 'is a web address, but no HTTP client was given');
  return webStore(parsed, http);
}

function folderStore(root: string): FileStore {
  return {
    label: `file/${basename(root)}`,
    async get(path, maxBytes, signal) {
      try {
        const file = join(root, path);
        const { size } = await stat(file);
        if (size > maxBytes) throw tooLarge(path, maxBytes);
        const bytes = await readFile(file, { signal });
        return { bytes, bytesRead: bytes.length };
      } catch (error) {
        return missingOr(error, signal, path);
      }
    },
    async list(path) {
      try {
        return await readdir(join(root, path));
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw unreadable(path, error);
      }
    },
  };
}

function webStore(root: URL, http: Pick<HttpClient, 'getBytes'>): FileStore {
  return {
    label: root.host,
    async get(path, maxBytes, signal) {
      // Some hosts answer 403 for an object that isn't there when listing is not allowed.
      const url = new URL(path, root);
      url.search = root.search;
      const answer = await http.getBytes(url, { signal, maxBytes, accept: [403, 404], what: path });
      if (answer.status === 403 || answer.status === 404) return undefined;
      const { body } = answer;
      return { bytes: Buffer.from(body.buffer, body.byteOffset, body.byteLength), bytesRead: answer.bytesRead };
    },
    list: () => Promise.resolve(undefined),
  };
}

function missingOr(error: unknown, signal: AbortSignal, path: string): undefined {
  if (isMissing(error)) return undefined;
  signal.throwIfAborted();
  if (error instanceof TrueUpError) throw error;
  throw unreadable(path, error);
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function unreadable(path: string, cause: unknown): TrueUpError {
  return new TrueUpError('SOURCE_UNAVAILABLE', `can't read ${path}: ${messageOf(cause)}`, {
    cause,
    fix: 'Check that the folder is mounted and readable by this process.',
  });
}

function tooLarge(path: string, maxBytes: number): TrueUpError {
  return new TrueUpError('SOURCE_ANSWER_TOO_LARGE', `${path} has more than ${maxBytes} bytes`);
}

function badUrl(variable: string, why: string, cause?: unknown): TrueUpError {
  return new TrueUpError('INVALID_CONFIGURATION', `${variable} ${why}`, {
    fix: `Set ${variable} to a file: or https: URL.`,
    ...(cause === undefined ? {} : { cause }),
  });
}
