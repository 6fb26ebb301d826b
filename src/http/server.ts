// The HTTP port: Connect and gRPC-Web calls, and the page.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createHostGuard } from './host-guard.ts';
import { type Bind, type HttpListener, listenHttp, type TlsFiles } from './listener.ts';

/** Answers the request and says so, or leaves it alone: the page's files. */
export type PageHandler = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface HttpServerOptions {
  readonly bind: Bind;
  readonly tls: TlsFiles | null;
  /** Makes the handler of calls; what isn't a call goes to the fallback it is given. */
  readonly connectHandler: (fallback: RequestListener) => RequestListener;
  readonly page: PageHandler | null;
  /** Whether callers need tokens; without them only pages of this machine are served. */
  readonly hasTokens: boolean;
}

export function startHttpServer(options: HttpServerOptions): Promise<HttpListener> {
  const { bind, tls, connectHandler, page, hasTokens } = options;
  const guard = hasTokens ? null : createHostGuard({ boundHost: bind.host });
  const calls = connectHandler((request, response) => {
    if (page?.(request, response)) return;
    response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' });
    response.end('not found\n');
  });
  const handler: RequestListener = (request, response) => {
    if (guard && !guard(request, response)) return;
    // connect-node makes a URL of these two and throws where it can't.
    if (!URL.canParse(request.url ?? '', `http://${request.headers.host}`)) {
      response.writeHead(400, { connection: 'close' }).end();
      return;
    }
    calls(request, response);
  };
  return listenHttp('HTTP_BIND', bind, handler, tls);
}
