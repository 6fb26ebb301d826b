// Goal: the page shows what the server says, says when it can't, asks for a token where one is needed, and fits a
// phone. Method: a real browser against a stub server under the page's real headers. Skipped where no browser is.
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { consoleHandler } from '../../src/http/console.ts';
import { sampleDrift, sampleDrifts, samplePolicy, sampleRun, sampleStatus } from '../cli/samples.ts';
import { stubHttpServer, type StubHandlers, type StubServer } from '../cli/stub-server.ts';
import { type Browser, chromiumPath, startChromium } from './chromium.ts';

const text = 'document.body.innerText';

/** A sandbox deployment whose state a test can change while the page looks at it. */
function deployment() {
  const told = {
    status: () => sampleStatus({}, Date.now()),
    drifts: sampleDrifts(Date.now()),
    run: sampleRun({}, Date.now()),
    token: '',
  };
  const calls: string[] = [];
  const open = { now: 0, most: 0 };
  const handlers: StubHandlers = {
    health: {
      getStatus: (_request, { requestHeader }) => {
        calls.push('GetStatus');
        if (told.token !== '' && requestHeader.get('authorization') !== `Bearer ${told.token}`)
          throw new ConnectError('no such token', Code.Unauthenticated);
        return told.status();
      },
    },
    reconciliation: {
      listPolicies: () => ({ policies: [samplePolicy(), samplePolicy({ name: 'untried', sandbox: false })] }),
      listReconciliations: ({ policy }) => ({ reconciliations: policy === 'default' ? [told.run] : [] }),
      listDrifts: ({ filter }) => {
        const resolved = filter!.states.includes(contract.DriftState.RESOLVED);
        const drifts = resolved ? [] : told.drifts;
        return { drifts, totalSize: BigInt(drifts.length) };
      },
    },
  };
  const page = consoleHandler();
  const serve = (port = 0): Promise<StubServer> =>
    stubHttpServer(
      handlers,
      (request, response) => {
        if (page(request, response)) return true;
        open.most = Math.max(open.most, ++open.now);
        response.on('close', () => open.now--);
        return false;
      },
      port,
    );
  return { told, calls, open, serve };
}

describe.skipIf(chromiumPath === null)('in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
  }, 30_000);

  test('shows the verdict with its age, the drifts side by side, the stream, and the sandbox mark, without a complaint', async () => {
    const { serve, open } = deployment();
    await using server = await serve();
    const page = await browser.open(`http://${server.address}/`);
    await page.until(`${text}.includes('Live')`, 10_000);
    const words = await page.evaluate<string>(text);
    for (const shown of [
      'SANDBOX',
      'Drift detected',
      'No verdict yet',
      '28,131,456 to 28,133,900 without a gap',
      'Missing in the book',
      'Twice in the book',
      '212.0004100',
      '5 open',
      'Nothing was resolved yet.',
    ]) {
      expect(words).toContain(shown);
    }
    expect(words).toMatch(/checked \d+s ago/);
    const cells = await page.evaluate<string[]>(
      `[...document.querySelectorAll('.drift')[0].querySelectorAll('tbody tr')].map((row) => row.innerText.replace(/\\s+/g, ' '))`,
    );
    expect(cells).toEqual(['Amount -12.5000000 -13.5000000']);
    await page.until(
      `document.querySelector('time.age').textContent !== ${JSON.stringify(await page.evaluate<string>("document.querySelector('time.age').textContent"))}`,
      5_000,
    );
    expect(await page.evaluate<string>('document.title')).toBe('Drift · TrueUp');
    expect(page.complaints).toEqual([]);
    expect(open.most).toBe(1);
  }, 60_000);

  test('follows changes, keeps what did not change, and announces a new verdict', async () => {
    const { serve, told } = deployment();
    await using server = await serve();
    const page = await browser.open(`http://${server.address}/`);
    await page.until(`document.querySelectorAll('.drift').length === 5`, 10_000);
    await page.evaluate(`document.querySelectorAll('.drift')[4].dataset.kept = 'yes'`);
    told.drifts = told.drifts.slice(1);
    told.run = sampleRun({ id: 'next', verdict: contract.Verdict.CLEAN }, Date.now());
    await page.until(`document.querySelectorAll('.drift').length === 4`, 5_000);
    expect(await page.evaluate<string>(`document.querySelectorAll('.drift')[3].dataset.kept`)).toBe('yes');
    await page.until(`${text}.includes('Clean')`, 5_000);
    expect(await page.evaluate<string>(`document.getElementById('announce').textContent`)).toContain('default: Clean');
  }, 60_000);

  test('says within five seconds that the connection is lost, and recovers by itself', async () => {
    const { serve } = deployment();
    const first = await serve();
    const port = Number(first.address.split(':')[1]);
    const page = await browser.open(`http://${first.address}/`);
    await page.until(`${text}.includes('Live')`, 10_000);
    await first[Symbol.asyncDispose]();
    await page.until(`${text}.includes('Connection lost')`, 5_000);
    expect(await page.evaluate<boolean>(`document.body.classList.contains('stale')`)).toBe(true);
    await using _second = await serve(port);
    await page.until(`${text}.includes('Live') && !document.body.classList.contains('stale')`, 15_000);
  }, 60_000);

  test('asks for a token where one is needed, keeps it for the tab, and says when it is wrong', async () => {
    const { serve, told } = deployment();
    told.token = 'right';
    await using server = await serve();
    const page = await browser.open(`http://${server.address}/`);
    await page.until(`!document.getElementById('token-form').hidden`, 10_000);
    const enter = (token: string): Promise<unknown> =>
      page.evaluate(
        `document.getElementById('token').value = ${JSON.stringify(token)}; document.querySelector('#token-form button').click()`,
      );
    await enter('wrong');
    await page.until(`${text}.includes('does not know this token')`, 5_000);
    await enter('right');
    await page.until(`${text}.includes('Live')`, 5_000);
    expect(await page.evaluate<boolean>(`document.getElementById('token-form').hidden`)).toBe(true);
    expect(await page.evaluate<string[]>('[localStorage.length, document.cookie]')).toEqual([0, '']);
  }, 60_000);

  test('shows what is not known as unknown, and markup in an answer as text', async () => {
    const { serve, told } = deployment();
    const stream = { stream: '<img src=x onerror=alert(1)>', layers: [{ layer: contract.Layer.OPERATIONS }] };
    told.status = () => create(contract.GetStatusResponseSchema, { streams: [stream] });
    told.drifts = [
      sampleDrift({
        kinds: [],
        fields: [{ field: 'counterparty', ledgerValue: '<b>1</b>' }],
        itemTime: undefined,
        firstSeenTime: undefined,
      }),
    ];
    await using server = await serve();
    const page = await browser.open(`http://${server.address}/`);
    await page.until(`${text}.includes('Live')`, 10_000);
    const words = await page.evaluate<string>(text);
    for (const shown of [
      '<b>1</b>',
      '<img src=x onerror=alert(1)>',
      'Unknown difference',
      'age unknown',
      'nothing read yet',
      'up unknown',
    ])
      expect(words).toContain(shown);
    expect(await page.evaluate<number>(`document.querySelectorAll('main img, main b b').length`)).toBe(0);
    expect(
      await page.evaluate<string[]>(`[...document.querySelectorAll('.stream dd')].map((cell) => cell.textContent)`),
    ).toEqual(['unknown', 'unknown', 'unknown', 'never']);
  }, 60_000);

  test.each([360, 1280])(
    'fits a width of %d pixels',
    async (width) => {
      const { serve } = deployment();
      await using server = await serve();
      const page = await browser.open(`http://${server.address}/`, { width, height: 800 });
      await page.until(`document.querySelectorAll('.drift').length === 5`, 10_000);
      expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
      const outside = `[...document.querySelectorAll('main *')].filter((e) => !e.closest('.hidden') && e.getBoundingClientRect().right > ${width + 1}).length`;
      expect(await page.evaluate<number>(outside)).toBe(0);
    },
    60_000,
  );
});
