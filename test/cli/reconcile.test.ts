// Goal: comparing from the command line: the exit code is the verdict, a broken stream is taken up, drifts are all there.
// Method: the command in this process against a stub server on a real port.
import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { sampleDrift, sampleDrifts, sampleRun } from './samples.ts';
import type { StubHandlers } from './stub-server.ts';
import { ask, jsonLines, terminal } from './terminal.ts';

const { QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED } = contract.ReconciliationState;
const { CLEAN, DRIFT_DETECTED, INCONCLUSIVE, UNSPECIFIED } = contract.Verdict;

test.each([
  { state: SUCCEEDED, verdict: CLEAN, exit: 0, says: 'CLEAN' },
  { state: SUCCEEDED, verdict: DRIFT_DETECTED, exit: 3, says: 'DRIFT_DETECTED' },
  { state: SUCCEEDED, verdict: INCONCLUSIVE, exit: 4, says: 'INCONCLUSIVE' },
  { state: FAILED, verdict: INCONCLUSIVE, exit: 1, says: 'no verdict: failed' },
  { state: CANCELLED, verdict: UNSPECIFIED, exit: 1, says: 'no verdict: cancelled' },
])('reconcile --wait exits $exit for $says', async ({ state, verdict, exit, says }) => {
  const handlers: StubHandlers = {
    reconciliation: {
      startReconciliation: () => ({ reconciliation: sampleRun({ state: QUEUED, verdict: UNSPECIFIED }) }),
      async *watchReconciliation() {
        yield { sequence: '1', reconciliation: sampleRun({ state: RUNNING, verdict: UNSPECIFIED }) };
        yield { sequence: '2', heartbeat: true };
        yield { sequence: '3', reconciliation: sampleRun({ state, verdict }) };
      },
    },
  };
  const { code, out } = await ask(handlers, ['reconcile', '--wait']);
  expect(out).toContain(`${says}  default  SANDBOX`);
  expect(code).toBe(exit);
  const json = await ask(handlers, ['reconcile', '--wait', '--json']);
  expect(json.code).toBe(exit);
  expect(jsonLines(json.out)).toHaveLength(1);
});

test('reconcile --wait takes a broken stream up where it ended', async () => {
  const asked: string[] = [];
  const handlers: StubHandlers = {
    reconciliation: {
      startReconciliation: () => ({ reconciliation: sampleRun({ state: QUEUED }) }),
      async *watchReconciliation({ sinceSequence }) {
        asked.push(sinceSequence);
        if (sinceSequence === '') {
          yield { sequence: '41', reconciliation: sampleRun({ state: RUNNING }) };
          throw new ConnectError('gone', Code.Unavailable);
        }
        yield { sequence: '42', reconciliation: sampleRun({ verdict: CLEAN }) };
      },
    },
  };
  expect((await ask(handlers, ['reconcile', '--wait'])).code).toBe(0);
  expect(asked).toEqual(['', '41']);
});

test('reconcile without --wait names the run and returns at once', async () => {
  const requests: contract.StartReconciliationRequest[] = [];
  const handlers: StubHandlers = {
    reconciliation: {
      startReconciliation: (request) => {
        requests.push(request);
        return { reconciliation: sampleRun({ state: QUEUED, verdict: UNSPECIFIED }) };
      },
    },
  };
  const { code, out } = await ask(handlers, [
    'reconcile',
    '--policy',
    'default',
    '--level',
    'entries',
    '--from',
    '5',
    '--to',
    '9',
  ]);
  expect(code).toBe(0);
  expect(out).toContain('run 0198f0c2-2b7e-7c11-9d63-6a3f0c7f1a01 of default is queued');
  expect(requests[0]).toMatchObject({
    policy: 'default',
    level: contract.Level.ENTRIES,
    range: { fromLedger: 5, toLedger: 9 },
  });
  expect(requests[0]!.requestId).toMatch(/^[0-9a-f-]{36}$/);
});

test('drifts reads every page, and sends its filters with each of them', async () => {
  const all = Array.from({ length: 450 }, (_, index) => sampleDrift({ id: `d${index}` }));
  const requests: contract.ListDriftsRequest[] = [];
  const handlers: StubHandlers = {
    reconciliation: {
      listDrifts: (request) => {
        requests.push(request);
        const from = Number(request.pageToken || 0);
        const to = from + request.pageSize;
        const nextPageToken = to < all.length ? String(to) : '';
        return { drifts: all.slice(from, to), nextPageToken, totalSize: BigInt(all.length) };
      },
    },
  };
  const { code, out } = await ask(handlers, ['drifts', '--all', '--policy', 'default', '--json']);
  expect(code).toBe(0);
  expect(jsonLines(out).map(({ id }) => id)).toEqual(all.map(({ id }) => id));
  expect(requests.map(({ pageSize }) => pageSize)).toEqual([200, 200, 200]);
  expect(requests.every(({ filter }) => filter?.policy === 'default' && filter.states.length === 4)).toBe(true);

  const some = await ask(handlers, ['drifts', '--limit', '3', '--state', 'open,exempt']);
  expect(some.out.match(/AMOUNT_MISMATCH/g)).toHaveLength(3);
  expect(some.out).toContain('3 of 450; --limit or --all shows more');
  expect(requests.at(-1)!.filter!.states).toEqual([contract.DriftState.OPEN, contract.DriftState.EXEMPT]);
});

test('drifts narrows by whatever the contract narrows by', async () => {
  const requests: contract.ListDriftsRequest[] = [];
  const handlers: StubHandlers = {
    reconciliation: {
      listDrifts: (request) => {
        requests.push(request);
        return {};
      },
    },
  };
  const words = ['--kind', 'missing-in-db,amount_mismatch', '--key', 'abc', '--assignee', 'eve', '--run', 'r1'];
  const more = ['--account', 'G1', '--account', 'G2', '--asset', 'native', '--from', '5', '--to', '9'];
  const times = ['--since', '2026-01-01T00:00:00Z', '--until', '2026-01-02T00:00:00Z'];
  const { code } = await ask(handlers, ['drifts', ...words, ...more, ...times]);
  expect(code).toBe(0);
  const { filter } = requests[0]!;
  expect(filter).toMatchObject({
    kinds: [contract.DriftKind.MISSING_IN_DB, contract.DriftKind.AMOUNT_MISMATCH],
    ...{ matchKey: 'abc', assignee: 'eve', reconciliationId: 'r1', accounts: ['G1', 'G2'], assets: ['native'] },
    ...{ range: { fromLedger: 5, toLedger: 9 }, startTime: { seconds: 1_767_225_600n } },
    endTime: { seconds: 1_767_312_000n },
  });
});

test.each([
  { words: ['ack'], transition: 'ACKNOWLEDGE', says: '2 drifts acknowledged', asked: {} },
  {
    words: ['assign', '--assignee', 'eve'],
    transition: 'ASSIGN',
    says: '2 drifts assigned',
    asked: { assignee: 'eve' },
  },
  { words: ['resolve'], transition: 'RESOLVE', says: '2 drifts resolved', asked: {} },
  {
    words: ['exempt', '--owner', 'bob', '--until', '2027-01-01T00:00:00Z'],
    ...{ transition: 'EXEMPT', says: '2 drifts exempted' },
    asked: { owner: 'bob', exemptUntil: { seconds: 1_798_761_600n } },
  },
  { words: ['reopen'], transition: 'REOPEN', says: '2 drifts reopened', asked: {} },
])('drifts $words.0 says why, for all ids in one call', async ({ words, transition, says, asked }) => {
  const requests: contract.TransitionDriftsRequest[] = [];
  const handlers: StubHandlers = {
    reconciliation: {
      transitionDrifts: (request) => {
        requests.push(request);
        return { drifts: request.driftIds.map((id) => sampleDrift({ id })) };
      },
    },
  };
  const line = ['drifts', words[0]!, 'd1', 'd2', '--reason', 'known at the bank', ...words.slice(1)];
  const { code, out } = await ask(handlers, line);
  expect([code, out]).toEqual([0, `${says}\n`]);
  expect(requests[0]).toMatchObject({
    ...{ driftIds: ['d1', 'd2'], reason: 'known at the bank', ...asked },
    transition: contract.DriftTransition[transition as 'ACKNOWLEDGE'],
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
  });
  const json = await ask(handlers, [...line, '--json']);
  expect(jsonLines(json.out).map(({ id }) => id)).toEqual(['d1', 'd2']);
});

test('drifts ack without a reason changes nothing and says what is missing', async () => {
  const { code, err } = await ask({ reconciliation: {} }, ['drifts', 'ack', 'd1']);
  expect(code).toBe(2);
  expect(err).toContain('--reason');
});

test('drifts puts both sides next to each other, field by field', async () => {
  const drifts = sampleDrifts();
  const handlers = { reconciliation: { listDrifts: () => ({ drifts, totalSize: 5n }) } };
  const { out } = await ask(handlers, ['drifts'], terminal({ isTTY: true, env: { NO_COLOR: '1' } }));
  expect(out).toContain(
    [
      'AMOUNT_MISMATCH  open  30m 00s old  SANDBOX',
      '  GBUV…QAVB  native  0f3b…b2c3:1',
      '            LEDGER       BOOK',
      '    amount  -12.5000000  -13.5000000',
      '  id 7a0d1c52-5d6a-5f7e-8c0e-2f1d1a9b7c01, first seen 2026-11-22T11:50:00Z, policy default',
    ].join('\n'),
  );
  expect(out).toMatch(/MISSING_IN_DB[^]*amount +212\.0004100 +–\n/);
  expect(out).toMatch(/MISSING_ON_LEDGER[^]*amount +– +250\.0000000\n/);
  expect(out).toMatch(/STATUS_MISMATCH[^]*status +success +failed\n/);
  const piped = await ask(handlers, ['drifts']);
  expect(piped.out).toContain('GBUVXEPL72HJSTO76CQ2CAX6UE4OPFP36ZZZQBDTOTDYMR7H6PO7QAVB');
});

test('Ctrl-C ends waiting with 130 and without a stack, a reader that went away with 0', async () => {
  const handlers = (watching: () => void): StubHandlers => ({
    reconciliation: {
      startReconciliation: () => ({ reconciliation: sampleRun({ state: QUEUED }) }),
      async *watchReconciliation(_request, { signal }) {
        yield { sequence: '1', reconciliation: sampleRun({ state: RUNNING }) };
        watching();
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    },
  });
  const world = terminal();
  expect(
    await ask(
      handlers(() => world.interrupt()),
      ['reconcile', '--wait'],
      world,
    ),
  ).toMatchObject({ code: 130, err: '' });
  const piped = terminal();
  const broken = Object.assign(new Error('broken pipe'), { code: 'EPIPE' });
  expect(
    (
      await ask(
        handlers(() => piped.interrupt(broken)),
        ['reconcile', '--wait'],
        piped,
      )
    ).code,
  ).toBe(0);
});
