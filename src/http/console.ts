// The console page's files, out of memory, under headers that let it load nothing else and be framed by nobody.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf, TrueUpError } from '../core/errors.ts';

const TYPES = {
  'index.html': 'text/html; charset=utf-8',
  'app.js': 'text/javascript; charset=utf-8',
  'calls.js': 'text/javascript; charset=utf-8',
  'dom.js': 'text/javascript; charset=utf-8',
  'drift-views.js': 'text/javascript; charset=utf-8',
  'views.js': 'text/javascript; charset=utf-8',
  'words.js': 'text/javascript; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

const SECURITY_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'x-frame-options': 'DENY',
} as const;

interface PageFile {
  readonly body: Buffer;
  readonly type: string;
  readonly etag: string;
}

/**
 * Serves the page under `/`, `/index.html` and its files' names, and nothing else: true when the request was answered.
 * A request for anything that isn't the page is left alone.
 *
 * @throws TrueUpError INVALID_CONFIGURATION when the installation lacks the page's files.
 */
export function consoleHandler(): (request: IncomingMessage, response: ServerResponse) => boolean {
  const files = readFiles();
  return (request, response) => {
    const path = (request.url ?? '').split(/[?#]/, 1)[0]!;
    const file = files.get(path);
    if (file === undefined) return false;
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { ...SECURITY_HEADERS, allow: 'GET, HEAD' }).end();
      return true;
    }
    // Asked for again every time, and answered without a body where nothing changed: a new release shows at once.
    const headers = { ...SECURITY_HEADERS, 'cache-control': 'no-cache', etag: file.etag };
    if (matches(request.headers['if-none-match'], file.etag)) {
      response.writeHead(304, headers).end();
      return true;
    }
    response.writeHead(200, { ...headers, 'content-type': file.type, 'content-length': file.body.length });
    response.end(request.method === 'HEAD' ? undefined : file.body);
    return true;
  };
}

function readFiles(): Map<string, PageFile> {
  // Beside the sources; the built files find it where the package keeps it.
  const places = ['../console/', '../../src/console/'].map((place) => new URL(place, import.meta.url));
  const folder = places.find((place) => existsSync(new URL('index.html', place)));
  const files = new Map<string, PageFile>();
  try {
    if (folder === undefined) throw new Error('its folder is missing');
    for (const [name, type] of Object.entries(TYPES)) {
      const body = readFileSync(new URL(name, folder));
      files.set(`/${name}`, {
        body,
        type,
        etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
      });
    }
  } catch (error) {
    throw new TrueUpError('INVALID_CONFIGURATION', `the console page's files can't be read: ${messageOf(error)}`, {
      fix: 'install TrueUp again',
      cause: error,
    });
  }
  files.set('/', files.get('/index.html')!);
  return files;
}

function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === etag || one.trim() === '*');
}
