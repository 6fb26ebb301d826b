// Goal: a team points TrueUp at Horizon, its accounts and a SELECT on its own table, and sees its first true verdict; and what happens when a row is
// wrong, and when the source is down.
// Method: a Horizon-shaped server with recorded testnet history, and a table filled from what was recorded of those accounts' payments.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { complaints, type RunningApp, soon, startApp, trueup } from '../_util/app.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';
import { checkHealth } from '../_util/grpc-health.ts';
import { type History, loadTestnetHistory } from '../_util/horizon-history.ts';
import { type HorizonServer, startHorizonServer } from '../_util/horizon-server.ts';
import { hasSharedData } from '../_util/shared-data.ts';

const ACCOUNTS = 6;
const READER = `book_reader_${randomBytes(4).toString('hex')}`;
const PASSWORD = randomBytes(12).toString('hex');
const { DriftKind, InconclusiveReason, ReconciliationState, Verdict } = contract;
/** What a team would write over its own table. */
const QUERY = `select 'm-' || id as row_id, tx || ':' || op as key, wallet as account, coin as asset, delta as amount, what as kind, other as counterparty,
  state as status, at as occurred_at from movements`;

describe.skipIf(!hasSharedData)('a team with accounts on testnet and a table of its own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trueup-own-'));
  let history: History;
  let horizon: HorizonServer;
  let business: TestDatabase;
  let env: Record<string, string>;
  let app: RunningApp;
  let rows: Movement[];

  beforeAll(async () => {
    history = loadTestnetHistory();
    horizon = await startHorizonServer(history);
    const accounts = busyAccounts(history);
    rows = movementsOf(history, new Set(accounts));
    business = await createTestDatabase({ migrated: false });
    await onAdminConnection(business.url, async (client) => {
      await client.query(
        'create table movements (id serial primary key, tx text, op int, wallet text, coin text, delta text, what text, other text, state text, at timestamptz)',
      );
      await client.query(
        `insert into movements (tx, op, wallet, coin, delta, what, other, state, at) select tx, op, wallet, coin, delta, what, other, 'settled', at from jsonb_to_recordset($1) as m (tx text, op int, wallet text, coin text, delta text, what text, other text, at timestamptz)`,
        [JSON.stringify(rows)],
      );
      await client.query(`create role ${READER} login password '${PASSWORD}'`);
      await client.query(`grant select on movements to ${READER}`);
    });
    const bookUrl = new URL(business.url);
    [bookUrl.username, bookUrl.password] = [READER, PASSWORD];
    const queryFile = join(folder, 'book.sql');
    writeFileSync(queryFile, QUERY);
    env = {
      STELLAR_HORIZON_URL: horizon.url,
      STELLAR_NETWORK_PASSPHRASE: 'testnet',
      TRUEUP_WATCH_ACCOUNTS: accounts.join(','),
      TRUEUP_BOOK_URL: bookUrl.href,
      TRUEUP_BOOK_QUERY_FILE: queryFile,
      POLL_INTERVAL_SECS: '1',
      RPC_MAX_ATTEMPTS: '2',
      RPC_INITIAL_BACKOFF_MS: '10',
      CIRCUIT_BREAKER_COOLDOWN_MS: '1000',
      // Only runs that the test asks for: a tick would be in their way.
      LEDGER_RECONCILIATION_ENABLED: 'false',
    };
    app = await startApp(env);
  });
  afterAll(async () => {
    await app?.close();
    await horizon?.close();
    if (business) {
      await onAdminConnection(business.url, (client) => client.query(`drop owned by ${READER}; drop role ${READER}`));
      await business.drop();
    }
    rmSync(folder, { recursive: true, force: true });
  });

  const change = (text: string, values: unknown[] = []) =>
    onAdminConnection(business.url, (client) => client.query(text, values));
  const statusOf = async () => (await app.client.health.getStatus({})).streams[0]!;
  const reconcile = async (): Promise<contract.Reconciliation> => {
    const { reconciliation } = await app.client.reconciliation.startReconciliation({ policy: 'default' });
    let run = reconciliation!;
    await soon(async () => {
      run = (await app.client.reconciliation.getReconciliation({ reconciliationId: run.id })).reconciliation!;
      expect(run.state).toBeGreaterThanOrEqual(ReconciliationState.SUCCEEDED);
    }, 30_000);
    return run;
  };

  it('comes to the tip of what its accounts did', async () => {
    await soon(
      async () =>
        expect(await statusOf()).toMatchObject({
          syncStatus: contract.SyncStatus.SYNCED,
          lagLedgers: 0,
          tipLedger: 4093,
        }),
      40_000,
    );
    const { entries } = await app.client.reconciliation.listEntries({ pageSize: 1 });
    expect(entries).toHaveLength(1);
  }, 60_000);

  it('is told by the doctor that its book can be read, in rows it recognises', async () => {
    const { code, out } = await trueup(['doctor', 'book', '--json'], { ...env, DATABASE_URL: app.databaseUrl });
    const report = JSON.parse(out) as {
      level: string;
      rows: { problem: string | null; columns: Record<string, string> }[];
      overlap: { sampled: number; found: number };
      fixes: string[];
    };
    expect(report).toMatchObject({ level: 'entries', fixes: [] });
    expect(report.rows).toHaveLength(5);
    expect(report.rows.every(({ problem }) => problem === null)).toBe(true);
    expect(report.overlap.found).toBe(report.overlap.sampled);
    expect(code).toBe(0);
    expect(out).not.toContain(PASSWORD);
  });

  it('sees its first true verdict: CLEAN, over all of its rows', async () => {
    const run = await reconcile();
    expect(run.inconclusiveReasons.map(({ reason, message }) => [InconclusiveReason[reason], message])).toEqual([]);
    expect(Verdict[run.verdict]).toBe('CLEAN');
    expect(run).toMatchObject({ sandbox: false, book: 'postgres' });
    expect(Number(run.counts!.matchedCount)).toBe(rows.length);
    expect(run.counts).toMatchObject({ driftedCount: 0n, pendingCount: 0n });
  });

  it('is shown one wrong row field by field, and that it is right again', async () => {
    const victim = rows.find(({ delta }) => delta.startsWith('-') === false)!;
    const where = 'where tx = $1 and op = $2 and wallet = $3';
    await change(`update movements set delta = (delta::numeric + 0.0000001)::text ${where}`, [
      victim.tx,
      victim.op,
      victim.wallet,
    ]);
    const drifted = await reconcile();
    expect(Verdict[drifted.verdict]).toBe('DRIFT_DETECTED');
    const { drifts } = await app.client.reconciliation.listDrifts({});
    expect(drifts).toHaveLength(1);
    const [drift] = drifts;
    expect(drift!.kinds.map((kind) => DriftKind[kind])).toEqual(['AMOUNT_MISMATCH']);
    expect(drift!.fields.map(({ field }) => field)).toEqual(['amount']);
    expect(drift).toMatchObject({
      matchKey: `${victim.tx}:${victim.op}`,
      valueAtRiskMinor: '1',
      ledgerSide: { account: victim.wallet, amount: victim.delta },
      sandbox: false,
    });
    expect(BigInt(drift!.bookSide!.amountMinor) - BigInt(drift!.ledgerSide!.amountMinor)).toBe(1n);
    await change(`update movements set delta = $4 ${where}`, [victim.tx, victim.op, victim.wallet, victim.delta]);
    expect(Verdict[(await reconcile()).verdict]).toBe('CLEAN');
    expect((await app.client.reconciliation.getDrift({ driftId: drift!.id })).drift).toMatchObject({
      state: contract.DriftState.RESOLVED,
    });
  });

  it('is told of a row it has and the ledger has not, and of one it forgot', async () => {
    const [forgotten] = rows;
    await change('delete from movements where tx = $1 and op = $2 and wallet = $3', [
      forgotten!.tx,
      forgotten!.op,
      forgotten!.wallet,
    ]);
    await change(
      `insert into movements (tx, op, wallet, coin, delta, what, other, state, at) values ($1, 1, $2, 'native', '5', 'payment', $2, 'settled', $3)`,
      ['ab'.repeat(32), forgotten!.wallet, rows.at(-1)!.at],
    );
    await change(`update movements set at = at - interval '1 hour' where tx = $1`, ['ab'.repeat(32)]);
    const run = await reconcile();
    expect(Verdict[run.verdict]).toBe('DRIFT_DETECTED');
    const { drifts } = await app.client.reconciliation.listDrifts({});
    expect(drifts.map(({ kinds }) => kinds.map((kind) => DriftKind[kind]).join()).sort()).toEqual([
      'MISSING_IN_DB',
      'MISSING_ON_LEDGER',
    ]);
  });

  it('hears INCONCLUSIVE while the source is down, with everything that stands for it degraded but the service itself', async () => {
    const { stream } = await statusOf();
    horizon.faults.push({ kind: 'status', status: 503, times: Infinity });
    await soon(async () => expect((await fetch(`${app.metrics}/health`)).status).toBe(503));
    const health = (await (await fetch(`${app.metrics}/health`)).json()) as {
      degraded: { name: string; reason: string }[];
    };
    expect(health.degraded.map(({ name }) => name)).toContain('stream');
    expect((await fetch(`${app.metrics}/readyz`)).status).toBe(200);
    await soon(async () => expect(await checkHealth(app.grpc, `trueup.stream/${stream}`)).toBe('NOT_SERVING'));
    expect(await checkHealth(app.grpc)).toBe('SERVING');
    const run = await reconcile();
    expect(Verdict[run.verdict]).toBe('INCONCLUSIVE');
    expect(run.inconclusiveReasons.map(({ reason }) => InconclusiveReason[reason])).toContain('SOURCE_UNAVAILABLE');
    // What was proven before stays open.
    expect((await app.client.reconciliation.listDrifts({})).drifts).toHaveLength(2);
  });

  it('recovers by itself when the source is back', async () => {
    const { stream } = await statusOf();
    horizon.faults.length = 0;
    await soon(async () => expect((await fetch(`${app.metrics}/health`)).status).toBe(200), 60_000);
    await soon(async () => expect(await checkHealth(app.grpc, `trueup.stream/${stream}`)).toBe('SERVING'));
    expect(Verdict[(await reconcile()).verdict]).toBe('DRIFT_DETECTED');
    expect(complaints(app)).toEqual([]);
  }, 90_000);

  it('hears INCONCLUSIVE, not CLEAN, when its own table cannot be read', async () => {
    await change(`revoke select on movements from ${READER}`);
    const run = await reconcile();
    expect(Verdict[run.verdict]).toBe('INCONCLUSIVE');
    expect(run.inconclusiveReasons.map(({ reason }) => InconclusiveReason[reason])).toEqual(['BOOK_UNREADABLE']);
    await change(`grant select on movements to ${READER}`);
  });
});

interface Movement {
  readonly tx: string;
  readonly op: number;
  readonly wallet: string;
  readonly coin: string;
  readonly delta: string;
  readonly what: string;
  readonly other: string;
  readonly at: string;
}

/** Accounts with many payments, without the two that fund everybody, and without trades, which a list of payments doesn't show. */
function busyAccounts(history: History): string[] {
  const counts = new Map<string, number>();
  for (const payment of history.payments) {
    for (const name of ['from', 'to', 'funder', 'account', 'into']) {
      const id = payment[name];
      if (typeof id === 'string') counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  const traded = new Set(
    history.ledgers.flatMap(({ transactions }) =>
      transactions.flatMap(({ trades }) => trades.flatMap(({ seller, taker }) => [seller, taker])),
    ),
  );
  const sorted = [...counts].filter(([id]) => !traded.has(id)).sort((a, b) => b[1] - a[1]);
  return sorted.slice(2, 2 + ACCOUNTS).map(([id]) => id);
}

/** One row a leg, as a business would have booked it: successful ones, seen from its own accounts. */
function movementsOf(history: History, own: ReadonlySet<string>): Movement[] {
  return history.payments
    .filter((payment) => payment['transaction_successful'] === true)
    .flatMap((payment) => {
      const text = (name: string): string => String(payment[name]);
      const coin = (prefix: string): string =>
        payment[`${prefix}asset_type`] === 'native'
          ? 'native'
          : `${text(`${prefix}asset_code`)}:${text(`${prefix}asset_issuer`)}`;
      const common = { tx: text('transaction_hash'), op: Number(BigInt(text('id')) & 0xfffn), at: text('created_at') };
      const leg = (
        what: string,
        wallet: string,
        other: string,
        sign: '' | '-',
        amount: string,
        asset: string,
      ): Movement => ({ ...common, what, wallet, other, delta: `${sign}${amount}`, coin: asset });
      switch (payment['type']) {
        case 'create_account':
          return [
            leg('create_account', text('funder'), text('account'), '-', text('starting_balance'), 'native'),
            leg('create_account', text('account'), text('funder'), '', text('starting_balance'), 'native'),
          ];
        case 'account_merge':
          return [
            leg('account_merge', text('account'), text('into'), '-', text('_merged_amount'), 'native'),
            leg('account_merge', text('into'), text('account'), '', text('_merged_amount'), 'native'),
          ];
        case 'payment':
          return [
            leg('payment', text('from'), text('to'), '-', text('amount'), coin('')),
            leg('payment', text('to'), text('from'), '', text('amount'), coin('')),
          ];
        default:
          return [
            leg('path_payment', text('from'), text('to'), '-', text('source_amount'), coin('source_')),
            leg('path_payment', text('to'), text('from'), '', text('amount'), coin('')),
          ];
      }
    })
    .filter(({ wallet }) => own.has(wallet));
}
