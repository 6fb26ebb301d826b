// Goal: what somebody sees who types `npm start` on an empty machine, from the banner to the repaired drift, and again after Ctrl-C.
// Method: the real command as a child on an empty data folder, with its embedded PostgreSQL and the sandbox; nothing is sped up.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import {
  complaints,
  isAlive,
  postgresPid,
  type RunningProcess,
  soon,
  startProcess,
  temporaryDataDir,
} from '../_util/app.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BUF = fileURLToPath(new URL('../../node_modules/.bin/buf', import.meta.url));
const FIRST_VERDICT_LIMIT_MS = 30_000;
const REPAIR_LIMIT_MS = 100_000;
const STOP_LIMIT_MS = 10_000;
const { DriftKind, DriftState, ReconciliationState, Verdict } = contract;

describe('the first minutes with the sandbox', () => {
  const folder = temporaryDataDir();
  let startedMs: number;
  let service: RunningProcess;

  beforeAll(async () => {
    startedMs = performance.now();
    service = await startProcess({ TRUEUP_DATA_DIR: folder.path });
  });
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
    await folder.remove();
  });

  const latest = async () =>
    (await service.client.reconciliation.getLatestReconciliation({ policy: 'default' })).reconciliation!;
  const drifts = async (states: contract.DriftState[] = []) =>
    (await service.client.reconciliation.listDrifts({ filter: { policy: 'default', states } })).drifts;
  const theStream = async () => (await service.client.health.getStatus({})).streams[0]!;

  it('says where it is, and that nothing here is real', () => {
    expect(service.banner()).toContain('SANDBOX');
    expect(service.banner()).toMatch(/page +http:\/\/127\.0\.0\.1:\d+\//);
    expect(service.banner()).toMatch(/gRPC +127\.0\.0\.1:\d+/);
    expect(service.banner()).toMatch(/metrics +http:\/\/127\.0\.0\.1:\d+\/metrics/);
  });

  it('gives no verdict before its first run, and says so', async () => {
    const metrics = await (await fetch(`${service.metrics}/metrics`)).text();
    const ran = /^trueup_reconciliation_runs_total\{.*\} [1-9]/m.test(metrics);
    if (!ran) expect(metrics).not.toMatch(/^reconciliation_status /m);
  });

  it('detects drift within half a minute, the five that were planted', async () => {
    await soon(async () => expect((await latest()).state).toBe(ReconciliationState.SUCCEEDED), FIRST_VERDICT_LIMIT_MS);
    expect(performance.now() - startedMs).toBeLessThan(FIRST_VERDICT_LIMIT_MS);
    const first = await latest();
    expect(first).toMatchObject({ verdict: Verdict.DRIFT_DETECTED, sandbox: true, inconclusiveReasons: [] });
    expect(Number(first.counts!.matchedCount)).toBeGreaterThan(1_000);
    const found = await drifts();
    expect(found.map(({ kinds }) => kinds.map((kind) => DriftKind[kind]).join()).sort()).toEqual([
      'AMOUNT_MISMATCH',
      'DUPLICATE_IN_DB',
      'MISSING_IN_DB',
      'MISSING_ON_LEDGER',
      'STATUS_MISMATCH',
    ]);
    expect(found.every(({ sandbox, state }) => sandbox && state === DriftState.OPEN)).toBe(true);
  });

  it('shows both amounts of the wrong one, and what is at risk', async () => {
    const wrong = (await drifts()).find(({ kinds }) => kinds.includes(DriftKind.AMOUNT_MISMATCH))!;
    expect(wrong.fields.map(({ field }) => field)).toEqual(['amount']);
    expect(BigInt(wrong.ledgerSide!.amountMinor) - BigInt(wrong.bookSide!.amountMinor)).toBe(10_000_000n);
    expect(Number(wrong.ledgerSide!.amount) - Number(wrong.bookSide!.amount)).toBeCloseTo(1, 7);
    expect(wrong.valueAtRiskMinor).toBe('10000000');
  });

  it('serves its page under a policy that lets it load nothing from elsewhere', async () => {
    const page = await fetch(`${service.http}/`);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('<title>');
    const policy = page.headers.get('content-security-policy')!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
  });

  it("answers the banner's own buf command, and a stream by the same means", async () => {
    const line = /npx buf (curl .*ListDrifts)/.exec(service.banner())![1]!;
    const { stdout } = await run(BUF, line.split(' '), { cwd: ROOT });
    expect((JSON.parse(stdout) as { drifts: unknown[] }).drifts).toHaveLength(5);
    const streamed = await run(BUF, line.replace('ListDrifts', 'StreamDrifts').split(' '), { cwd: ROOT });
    expect(streamed.stdout).toMatch(/"last":\s*true/);
  });

  it('streams how it is: first the state, then each change', async () => {
    const seen: string[] = [];
    const stop = new AbortController();
    const request = { topics: [contract.WatchTopic.STREAMS] };
    try {
      for await (const { payload } of service.client.health.watchStatus(request, { signal: stop.signal })) {
        if (payload.case === 'stream') seen.push(String(payload.value.tipLedger));
        if (new Set(seen).size >= 3) break;
      }
    } finally {
      stop.abort();
    }
    expect(new Set(seen).size).toBe(3);
  });

  it(
    'resolves the drift whose row comes in after a minute, and leaves the other four open',
    async () => {
      await soon(async () => expect(await drifts([DriftState.RESOLVED])).toHaveLength(1), REPAIR_LIMIT_MS);
      const [resolved] = await drifts([DriftState.RESOLVED]);
      expect(resolved!.kinds).toEqual([DriftKind.MISSING_IN_DB]);
      expect(resolved!.resolutionCause).not.toBe(contract.ResolutionCause.UNSPECIFIED);
      expect(await drifts()).toHaveLength(4);
    },
    REPAIR_LIMIT_MS + 10_000,
  );

  it('counts each drift once, however many runs saw it', async () => {
    const metrics = await (await fetch(`${service.metrics}/metrics`)).text();
    const counted = [...metrics.matchAll(/^reconciliation_drift_total\{.*\} (\d+)$/gm)].map(([, count]) =>
      Number(count),
    );
    expect(counted.reduce((sum, each) => sum + each, 0)).toBe(5);
  });

  it(
    'comes to a verdict of its balances too, and accuses none of them',
    async () => {
      await soon(async () => {
        const { reconciliation } = await service.client.reconciliation.getLatestReconciliation({
          policy: 'default-balances',
        });
        expect(reconciliation).toMatchObject({ verdict: Verdict.CLEAN });
      }, REPAIR_LIMIT_MS);
    },
    REPAIR_LIMIT_MS + 10_000,
  );

  it('ends within ten seconds of Ctrl-C, with code 0, its database too, and keeps its history over a restart', async () => {
    const before = {
      run: await latest(),
      stream: await theStream(),
      runs: (await service.client.reconciliation.listReconciliations({ pageSize: 100 })).reconciliations,
    };
    const postgres = postgresPid(folder.path)!;
    const askedMs = performance.now();
    service.kill('SIGINT');
    expect(await service.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - askedMs).toBeLessThan(STOP_LIMIT_MS);
    // It has ended; whoever inherits it may take a moment to bury it.
    await soon(() => expect(isAlive(postgres)).toBe(false));
    expect(service.log()).toContain('"clean":true');
    expect(complaints(service)).toEqual([]);

    // With the schedule off no new run can answer in the old one's place.
    service = await startProcess({ TRUEUP_DATA_DIR: folder.path, LEDGER_RECONCILIATION_ENABLED: 'false' });
    const after = await latest();
    expect(before.runs.map(({ id }) => id)).toContain(before.run.id);
    expect(after.createTime!.seconds).toBeGreaterThanOrEqual(before.run.createTime!.seconds);
    const kept = (await service.client.reconciliation.listReconciliations({ pageSize: 100 })).reconciliations.map(
      ({ id }) => id,
    );
    expect(kept).toEqual(expect.arrayContaining(before.runs.map(({ id }) => id)));
    await soon(async () => {
      const stream = await theStream();
      expect(stream.layers[0]!.contiguousFrom).toBe(before.stream.layers[0]!.contiguousFrom);
      expect(stream.layers[0]!.contiguousThrough).toBeGreaterThan(before.stream.layers[0]!.contiguousThrough!);
      expect(stream.layers[0]!.coveredRangeCount).toBe(1n);
    });
  }, 60_000);
});
