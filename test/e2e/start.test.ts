// Goal: a start that can't go well ends at once with one message that says what to change, and leaves nothing running.
// Method: the real command with bad configurations, against a Horizon-shaped server where the source is the trouble, on ports that are taken.
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, isAlive, postgresPid, soon, temporaryDataDir, trueup } from '../_util/app.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { loadTestnetHistory } from '../_util/horizon-history.ts';
import { type HorizonServer, startHorizonServer } from '../_util/horizon-server.ts';
import { hasSharedData } from '../_util/shared-data.ts';

const EXIT_CONFIGURATION = 2;
const PORTS = { GRPC_BIND: '127.0.0.1:0', HTTP_BIND: '127.0.0.1:0', METRICS_BIND: '127.0.0.1:0' };
const ACCOUNT = 'GBRPYHIL2CI3FNQ4BXLFMNDLFJUNPU2HY3ZMFSHONUCEOASW7QC7OX2H';

describe('a configuration with mistakes', () => {
  it('is refused with all of them in one message, before anything is opened', async () => {
    const { code, err } = await trueup(['serve'], {
      ...PORTS,
      GRPC_BIND: 'nowhere',
      LEDGER_RECONCILIATION_INTERVAL_MS: 'often',
      RECONCILIATION_WINDOW_HOURS: '-1',
      STELLAR_HORIZON_URL: 'ftp://user:pa55word@horizon.example',
      TRUEUP_WATCH_ACCOUNTS: 'GNOTANACCOUNT',
      TRUEUP_SORUCE: 'sandbox',
    });
    expect(code).toBe(EXIT_CONFIGURATION);
    for (const name of [
      'GRPC_BIND',
      'LEDGER_RECONCILIATION_INTERVAL_MS',
      'RECONCILIATION_WINDOW_HOURS',
      'STELLAR_HORIZON_URL',
      'TRUEUP_WATCH_ACCOUNTS',
      'TRUEUP_SORUCE',
    ])
      expect(err).toContain(name);
    expect(err).toContain('TRUEUP_SOURCE');
    expect(err).not.toContain('pa55word');
    expect(err).not.toMatch(/\n\s+at /);
  });

  it('may not bind another address than loopback without tokens', async () => {
    const { code, err } = await trueup(['serve'], { ...PORTS, GRPC_BIND: '0.0.0.0:0' });
    expect(code).toBe(EXIT_CONFIGURATION);
    expect(err).toContain('TRUEUP_TOKENS_FILE');
  });

  it('may not follow a real network without saying what is watched', async () => {
    const { code, err } = await trueup(['serve'], { ...PORTS, STELLAR_HORIZON_URL: 'https://horizon.example' });
    expect(code).toBe(EXIT_CONFIGURATION);
    expect(err).toContain('TRUEUP_WATCH_ACCOUNTS');
  });
});

describe('what is wrong outside', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.drop());

  it.each(['GRPC_BIND', 'HTTP_BIND', 'METRICS_BIND'])(
    'a taken %s ends the start, the other ports closed again',
    async (name) => {
      const taken = createServer();
      await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
      const { port } = taken.address() as AddressInfo;
      const { code, err } = await trueup(['serve'], {
        ...PORTS,
        DATABASE_URL: test.url,
        TRUEUP_SOURCE: 'sandbox',
        [name]: `127.0.0.1:${port}`,
      });
      taken.close();
      expect(code).toBe(EXIT_CONFIGURATION);
      expect(err).toContain(`${name} 127.0.0.1:${port} can't be bound`);
    },
  );

  it("a database that can't be reached is named without its password", async () => {
    const { code, err } = await trueup(['serve'], {
      ...PORTS,
      DATABASE_URL: 'postgresql://someone:secret-word@127.0.0.1:1/none',
      TRUEUP_SOURCE: 'sandbox',
    });
    expect(code).not.toBe(0);
    expect(err).toMatch(/127\.0\.0\.1/);
    expect(err).not.toContain('secret-word');
  });

  describe.skipIf(!hasSharedData)('at the source', () => {
    let horizon: HorizonServer;
    beforeAll(async () => {
      horizon = await startHorizonServer(loadTestnetHistory(255));
    });
    afterAll(() => horizon.close());
    const serve = (env: Record<string, string>) =>
      trueup(['serve'], {
        ...PORTS,
        DATABASE_URL: test.url,
        STELLAR_HORIZON_URL: horizon.url,
        TRUEUP_WATCH_ACCOUNTS: ACCOUNT,
        ...env,
      });

    it('another network than the one that was named stops the start', async () => {
      const { code, err } = await serve({ STELLAR_NETWORK_PASSPHRASE: 'pubnet' });
      expect(code).toBe(EXIT_CONFIGURATION);
      expect(err).toMatch(/Test SDF Network/);
      expect(err).toMatch(/Public Global Stellar Network/);
    });

    it('a start ledger that it does not serve stops the start, with the ledgers that it does', async () => {
      for (const ledger of ['1', '5000']) {
        horizon.elder = 65;
        const { code, err } = await serve({ TRUEUP_START_LEDGER: ledger });
        expect(code).toBe(EXIT_CONFIGURATION);
        expect(err).toContain(`TRUEUP_START_LEDGER ${ledger}`);
        // Two ledgers behind the endpoint's latest: an account's page can't prove the newest ones.
        expect(err).toMatch(/65\D+253/);
      }
    });
  });
});

it('Ctrl-C while it starts ends it with code 0, and its PostgreSQL with it', async () => {
  const folder = temporaryDataDir();
  const { PATH } = process.env;
  const child = spawn(process.execPath, [BIN, 'serve'], {
    cwd: folder.path,
    env: { PATH, ...PORTS, TRUEUP_DATA_DIR: folder.path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.resume();
  const exited = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
  // Its server is there, but its ports aren't yet.
  let postgres: number | null = null;
  await soon(() => expect((postgres = postgresPid(folder.path))).not.toBeNull());
  child.kill('SIGINT');
  expect(await exited).toEqual({ code: 0, signal: null });
  expect(out === '' || out.includes('Ctrl-C stops')).toBe(true);
  expect(isAlive(postgres!)).toBe(false);
  await folder.remove();
});
