// Goal: backfills from the command line: a bar that survives a server that goes away, exit codes by the end, gaps found where no range is named.
// Method: the command in this process against a stub server on a real port.
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { ago } from './samples.ts';
import type { StubHandlers } from './stub-server.ts';
import { ask, jsonLines, terminal } from './terminal.ts';

const { PLANNED, RUNNING, SUCCEEDED, FAILED, CANCELLED, PAUSED } = contract.BackfillState;
const ID = '0198f0c2-2b7e-7c11-9d63-6a3f0c7f1a77';

const sample = (state: contract.BackfillState, percent: number, change: object = {}): contract.Backfill =>
  create(contract.BackfillSchema, {
    id: ID,
    stream: 'testnet-5f1a2b3c',
    fromLedger: 1,
    toLedger: 1_000,
    state,
    requester: 'ann',
    createTime: ago(60),
    progress: {
      percent,
      totalLedgerCount: 1_000n,
      missingLedgerCount: 1_000n,
      scannedLedgerCount: BigInt(percent * 10),
      ledgerRates: { perSecond10s: 1_234.5 },
      eta: { seconds: 72n, nanos: 0 },
      etaUncertainty: { seconds: 9n, nanos: 0 },
      quarantinedLedgerCount: 2n,
    },
    ...change,
  });

describe('trueup backfill start --watch', () => {
  it('draws a bar on a terminal, takes a lost server up where it was, and ends with what was done', async () => {
    const since: string[] = [];
    const handlers: StubHandlers = {
      backfill: {
        startBackfill: () => ({ backfill: sample(PLANNED, 0) }),
        async *watchBackfill({ sinceSequence }) {
          since.push(sinceSequence);
          if (sinceSequence === '') {
            yield { sequence: '41', backfill: sample(RUNNING, 25) };
            throw new ConnectError('the server stops', Code.Unavailable);
          }
          yield { sequence: '42', backfill: sample(RUNNING, 75) };
          yield { sequence: '43', heartbeat: true };
          yield { sequence: '44', backfill: sample(SUCCEEDED, 100) };
        },
      },
    };
    const world = terminal({ isTTY: true });
    const { code, out, err } = await ask(
      handlers,
      ['backfill', 'start', '--from', '1', '--to', '1000', '--watch'],
      world,
    );
    expect(code).toBe(0);
    expect(since).toEqual(['', '41']);
    expect(err).toContain(
      '██████░░░░░░░░░░░░░░░░░░  25.0 %  running, 250 ledgers, 1,235/s, 1m 12s ± 9s left, 2 set apart',
    );
    expect(err).toContain('████████████████████████ 100.0 %');
    // Drawn in place: one line of the screen, left standing at the end.
    expect(err.split('\n')).toHaveLength(2);
    expect(out).toContain('succeeded');
    expect(out).toContain('1,000 were missing, 1,000 read, 0 skipped');
  });

  it.each([
    [SUCCEEDED, 0],
    [FAILED, 1],
    [CANCELLED, 1],
  ])('of one that ends in state %i exits with %i', async (state, exit) => {
    const error = { reason: contract.ErrorReason.SOURCE_DIVERGED, message: 'another history', fix: 'check the source' };
    const handlers: StubHandlers = {
      backfill: {
        startBackfill: () => ({ backfill: sample(PLANNED, 0) }),
        async *watchBackfill() {
          yield { sequence: '1', backfill: sample(state, 50, state === FAILED ? { error } : {}) };
        },
      },
    };
    const args = ['backfill', 'start', '--from', '1', '--to', '1000', '--watch'];
    const said = await ask(handlers, args);
    expect(said.code).toBe(exit);
    if (state === FAILED) expect(said.out).toContain('SOURCE_DIVERGED: another history\n    fix: check the source');
    const json = await ask(handlers, [...args, '--json']);
    expect([json.code, jsonLines(json.out).length]).toEqual([exit, 1]);
  });

  it('writes a line for every tenth where there is no terminal', async () => {
    const handlers: StubHandlers = {
      backfill: {
        startBackfill: () => ({ backfill: sample(PLANNED, 0) }),
        async *watchBackfill() {
          for (let percent = 0; percent < 100; percent += 2)
            yield { sequence: String(percent + 1), backfill: sample(RUNNING, percent) };
          yield { sequence: '999', backfill: sample(SUCCEEDED, 100) };
        },
      },
    };
    const { err } = await ask(handlers, ['backfill', 'start', '--from', '1', '--to', '1000', '--watch']);
    expect(err.trimEnd().split('\n')).toHaveLength(11);
    expect(err).not.toContain('\r');
  });
});

describe('trueup backfill', () => {
  it('start without a range asks for everything between the first gap and the last', async () => {
    const asked: contract.StartBackfillRequest[] = [];
    const handlers: StubHandlers = {
      backfill: {
        listGaps: ({ pageToken }) =>
          pageToken === ''
            ? { gaps: [{ fromLedger: 70, toLedger: 80 }], nextPageToken: 'more' }
            : { gaps: [{ fromLedger: 900, toLedger: 950 }] },
        startBackfill: (request) => (asked.push(request), { backfill: sample(PLANNED, 0) }),
      },
    };
    const { code, out } = await ask(handlers, ['backfill', 'start', '--ledgers-per-second', '2.5']);
    expect(code).toBe(0);
    expect(asked).toMatchObject([{ fromLedger: 70, toLedger: 950, limits: { ledgersPerSecond: 2.5 } }]);
    expect(asked[0]!.requestId).not.toBe('');
    expect(out).toContain(`trueup backfill watch ${ID}`);
    const none = await ask({ backfill: { listGaps: () => ({}) } }, ['backfill', 'start']);
    expect(none).toMatchObject({ code: 1, err: expect.stringContaining('there is no gap to fill') as string });
  });

  it('start --plan asks for what the dry run was asked for', async () => {
    const asked: contract.StartBackfillRequest[] = [];
    const handlers: StubHandlers = {
      backfill: {
        getBackfill: () => ({
          backfill: sample(SUCCEEDED, 100, { dryRun: true, source: 'stellar-lake', watch: ['GA'] }),
        }),
        startBackfill: (request) => (asked.push(request), { backfill: sample(PLANNED, 0) }),
      },
    };
    expect((await ask(handlers, ['backfill', 'start', '--plan', ID])).code).toBe(0);
    expect(asked).toMatchObject([
      { planOf: ID, fromLedger: 1, toLedger: 1_000, source: 'stellar-lake', watch: ['GA'], dryRun: false },
    ]);
  });

  it('list, get, pause, resume and cancel show what the server says', async () => {
    const wishes: string[] = [];
    const wish = (name: string) => (request: { backfillId: string; reason: string }) => {
      wishes.push(`${name} ${request.backfillId} ${request.reason}`);
      return { backfill: sample(PAUSED, 40) };
    };
    const handlers: StubHandlers = {
      backfill: {
        listBackfills: () => ({ backfills: [sample(PAUSED, 40)] }),
        getBackfill: () => ({
          backfill: sample(PAUSED, 40),
          transitions: [{ transitionTime: ago(5), toState: PAUSED, actor: 'ann', reason: 'quiet hours' }],
        }),
        pauseBackfill: wish('pause'),
        resumeBackfill: wish('resume'),
        cancelBackfill: wish('cancel'),
      },
    };
    const list = await ask(handlers, ['backfill', 'list', '--state', 'paused']);
    expect(list.out).toMatch(new RegExp(`${ID} +paused +1 +1000 +40.0 %`));
    expect((await ask(handlers, ['backfill', 'get', ID])).out).toContain('paused by ann: quiet hours');
    for (const name of ['pause', 'resume', 'cancel'])
      expect((await ask(handlers, ['backfill', name, ID, '--reason', 'so'])).out).toContain('paused');
    expect(wishes).toEqual(['pause', 'resume', 'cancel'].map((name) => `${name} ${ID} so`));
  });
});
