// Without tokens, whoever reaches the HTTP port may do everything, and a browser on this machine reaches it for any page
// that it shows. So the page's name must be ours: a foreign name that resolves to this machine (DNS rebinding) and a
// foreign page that posts here (CSRF) are both turned away.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';

export interface HostGuardOptions {
  /** The host that the port is bound to. */
  readonly boundHost: string;
}

/** True when the request may pass; otherwise it was answered 403 with the reason. */
export type HostGuard = (request: IncomingMessage, response: ServerResponse) => boolean;

export function createHostGuard({ boundHost }: HostGuardOptions): HostGuard {
  return (request, response) => {
    const problem = problemOf(request.headers.host, request.headers.origin, boundHost);
    if (problem === undefined) return true;
    const fix = 'open the page by its loopback address, or set TRUEUP_TOKENS_FILE to allow other names';
    response.writeHead(403, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      connection: 'close',
    });
    response.end(JSON.stringify({ code: 'permission_denied', message: `${problem}. Fix: ${fix}.` }));
    return false;
  };
}

/** What is wrong with a request's Host and Origin; undefined when they are ours. */
export function problemOf(host: string | undefined, origin: string | undefined, boundHost: string): string | undefined {
  const name = host === undefined ? undefined : hostnameOf(`http://${host}`);
  if (name === undefined) return 'the request names no host';
  if (!isOwnName(name, boundHost)) return `the host ${JSON.stringify(name.slice(0, 100))} is not this machine's`;
  if (origin === undefined) return undefined;
  // `null` is what sandboxed frames and local files send: nobody's origin.
  if (!URL.canParse(origin) || !/^https?:/i.test(origin)) return 'the origin is not this page';
  const { host: originHost, protocol } = new URL(origin);
  const isOwn = originHost === new URL(`${protocol}//${host}`).host;
  return isOwn ? undefined : `the origin ${JSON.stringify(origin.slice(0, 100))} is another page's`;
}

function isOwnName(name: string, boundHost: string): boolean {
  if (name === 'localhost' || name === '::1') return true;
  if (isIP(name) === 4) return name.startsWith('127.') || name === boundHost;
  return name === boundHost.toLowerCase();
}

function hostnameOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  return new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
}
