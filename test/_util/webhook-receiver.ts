// A far system that takes webhooks: says what it is told to say, one answer a request, and keeps what it got.
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedHook {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** `hang`: no answer; `cut`: the connection ends without one. */
export type HookAnswer =
  number | { readonly status: number; readonly headers: Record<string, string> } | 'hang' | 'cut';

export interface WebhookReceiver extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/hook-SECRET` */
  readonly url: string;
  readonly received: ReceivedHook[];
  /** What the next requests get, in order; 200 after that. */
  answer(...answers: HookAnswer[]): void;
}

/** In the path, as far systems have it: it must appear nowhere. */
export const HOOK_KEY = 'T0SECRET0B1SECRET1';

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const received: ReceivedHook[] = [];
  const next: HookAnswer[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      received.push({ path: request.url ?? '', headers: request.headers, body });
      const answer = next.shift() ?? 200;
      if (answer === 'hang') return;
      if (answer === 'cut') return void request.socket.destroy();
      const { status, headers } = typeof answer === 'number' ? { status: answer, headers: {} } : answer;
      response.writeHead(status, headers).end('ok');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook-${HOOK_KEY}`,
    received,
    answer: (...answers) => void next.push(...answers),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
