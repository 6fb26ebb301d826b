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
  /** All names in a folder, or undefined where it can't be listed (a web host) or doesn't exist. */
  list(path: string): Promise<readonly string[] | undefined>;
  /**
   * The first `count` names in a folder ('' is the root) in byte order, folders without their slash; of a web host by the
   * listing that S3 and Google Cloud Storage share. Undefined where there is no such folder or listing isn't allowed.
   */
  first(path: string, count: number, signal: AbortSignal): Promise<readonly string[] | undefined>;
}

/**
 * @param url `file:` or `https:` (`http:` too: the client decides which hosts it may call).
 * @throws TrueUpError INVALID_CONFIGURATION
 */
export function openFileStore(
  url: string,
  http: Pick<HttpClient, 'getBytes'> | undefined,
  variable: string,
): FileStore {
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
  const list: FileStore['list'] = async (path) => {
    try {
      return await readdir(join(root, path));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw unreadable(path, error);
    }
  };
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
    list,
    first: async (path, count) => (await list(path))?.toSorted().slice(0, count),
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
    async first(path, count, signal) {
      const { bucket, prefix } = bucketOf(root, path);
      bucket.searchParams.set('list-type', '2');
      bucket.searchParams.set('delimiter', '/');
      bucket.searchParams.set('prefix', prefix);
      bucket.searchParams.set('max-keys', String(count));
      const answer = await http.getBytes(bucket, {
        signal,
        maxBytes: maxListingBytes,
        accept: [400, 403, 404, 405],
        what: 'the listing',
      });
      if (answer.status !== 200) return undefined;
      const xml = Buffer.from(answer.body).toString('utf8');
      const names = [...xml.matchAll(/<(?:Key|Prefix)>([^<]*)<\//g)]
        .map((match) => match[1]!)
        .filter((key) => key.startsWith(prefix) && key.length > prefix.length)
        .map((key) => key.slice(prefix.length).replace(/\/$/, ''));
      return names.toSorted();
    },
  };
}

const maxListingBytes = 1024 * 1024;

/** Where a bucket's listing is asked for: most name the bucket in the host, some in the path's first part. */
function bucketOf(root: URL, path: string): { bucket: URL; prefix: string } {
  const full = decodeURIComponent(root.pathname.slice(1)) + (path === '' ? '' : `${path}/`);
  const bucket = new URL('/', root);
  if (root.hostname !== 'storage.googleapis.com' && !/^s3[.-]/.test(root.hostname)) return { bucket, prefix: full };
  const slash = full.indexOf('/') + 1;
  bucket.pathname = full.slice(0, slash);
  return { bucket, prefix: full.slice(slash) };
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
