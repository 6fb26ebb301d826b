// A real browser for tests of the page, spoken to by its own protocol. Absent browsers skip those tests.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const chromiumPath =
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path)) ?? null;

const START_TIMEOUT_MS = 30_000;
const LOAD_TIMEOUT_MS = 10_000;
const LOOK_EVERY_MS = 50;

export interface Page {
  /** The value of an expression in the page; promises are awaited. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression is true. */
  until(expression: string, timeoutMs: number): Promise<void>;
  /** What the browser complained about: errors, exceptions, refused loads. */
  readonly complaints: readonly string[];
}

export interface Browser extends AsyncDisposable {
  open(url: string, size?: { width: number; height: number }): Promise<Page>;
}

export async function startChromium(): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), 'trueup-chromium-'));
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--remote-debugging-port=0',
    `--user-data-dir=${profile}`,
  ];
  const child = spawn(chromiumPath!, [...flags, 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const endpoint = await endpointOf(child);
  const socket = new WebSocket(endpoint);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true });
    socket.addEventListener('error', () => reject(new Error('no browser behind its port')), { once: true });
  });
  const protocol = speak(socket);
  return {
    async open(url, size = { width: 1280, height: 900 }) {
      const { targetId } = await protocol.send<{ targetId: string }>('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await protocol.send<{ sessionId: string }>('Target.attachToTarget', {
        targetId,
        flatten: true,
      });
      const complaints: string[] = [];
      protocol.listen(sessionId, (method, params) => {
        if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded')
          complaints.push(JSON.stringify(params));
      });
      for (const domain of ['Runtime', 'Log', 'Page']) await protocol.send(`${domain}.enable`, {}, sessionId);
      await protocol.send(
        'Emulation.setDeviceMetricsOverride',
        { ...size, deviceScaleFactor: 1, mobile: false },
        sessionId,
      );
      await protocol.send('Page.navigate', { url }, sessionId);
      const evaluate = async <T>(expression: string): Promise<T> => {
        const answer = await protocol.send<{ result: { value: T }; exceptionDetails?: unknown }>(
          'Runtime.evaluate',
          { expression, awaitPromise: true, returnByValue: true },
          sessionId,
        );
        if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
        return answer.result.value;
      };
      const until = async (expression: string, timeoutMs: number): Promise<void> => {
        const deadlineMs = performance.now() + timeoutMs;
        while (!(await evaluate<boolean>(`Boolean(${expression})`))) {
          if (performance.now() > deadlineMs) {
            throw new Error(
              `not within ${timeoutMs} ms: ${expression}; the page says ${await evaluate<string>('document.body?.innerText')}`,
            );
          }
          await sleep(LOOK_EVERY_MS);
        }
      };
      await until(`location.href !== 'about:blank' && document.readyState === 'complete'`, LOAD_TIMEOUT_MS);
      return { evaluate, complaints, until };
    },
    async [Symbol.asyncDispose]() {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      socket.close();
      child.kill('SIGKILL');
      await gone;
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

function endpointOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error(`the browser did not start: ${text}`)), START_TIMEOUT_MS);
    child.once('exit', () => reject(new Error(`the browser ended: ${text}`)));
    child.stderr!.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
  });
}

interface Answer {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

function speak(socket: WebSocket) {
  let last = 0;
  const waiting = new Map<number, (answer: Answer) => void>();
  const listeners = new Map<string, (method: string, params: unknown) => void>();
  socket.addEventListener('message', ({ data }) => {
    const answer = JSON.parse(String(data)) as Answer;
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer);
    else if (answer.sessionId !== undefined) listeners.get(answer.sessionId)?.(answer.method ?? '', answer.params);
  });
  return {
    listen: (sessionId: string, listener: (method: string, params: unknown) => void) =>
      void listeners.set(sessionId, listener),
    send<T>(method: string, params: object, sessionId?: string): Promise<T> {
      const id = ++last;
      socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
      return new Promise((resolve, reject) => {
        waiting.set(id, (answer) => {
          waiting.delete(id);
          if (answer.error) reject(new Error(`${method}: ${answer.error.message}`));
          else resolve(answer.result as T);
        });
      });
    },
  };
}
