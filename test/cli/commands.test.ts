// Goal: the command says what the server says, in tables for people and JSON lines for programs, and its exit code
// alone tells a script what happened. Method: the command in this process against a stub server on a real port.
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { BadRequestSchema, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { contract } from '../../src/client/index.ts';
import { ago, samplePolicy, sampleStatus } from './samples.ts';
import { stubGrpcServer, type StubHandlers } from './stub-server.ts';
import { ask, jsonLines, terminal, trueup } from './terminal.ts';

test('status tells how every stream is, and marks the sandbox', async () => {
  const { code, out } = await ask({ health: { getStatus: () => sampleStatus() } }, ['status']);
  expect(code).toBe(0);
  expect(out).toBe(
    [
      'trueup 0.1.0  healthy  up 12m 22s  SANDBOX',
      '',
      'sandbox-5f1a2b3c  synced',
      '  operations    28,131,456 to 28,133,900 without a gap, 0 missing, 27,115 entries',
      '  tip           28,133,902, closed 2s ago',
      '  lag           2 ledgers',
      '  source        sandbox:trueup (sandbox)',
      '  last success  1s ago',
      '  last error    –',
      '',
    ].join('\n'),
  );
});

test('shows what is not known as unknown, never as zero', async () => {
  const streams = [
    { stream: 'testnet-1', source: 's', sourceKind: 'stellar-rpc', layers: [{ layer: contract.Layer.OPERATIONS }] },
  ];
  const { out } = await ask({ health: { getStatus: () => sampleStatus({ streams, uptime: undefined }) } }, ['status']);
  expect(out).toContain('up unknown');
  expect(out).toMatch(/operations +nothing yet/);
  expect(out).toMatch(/tip +unknown, closed unknown ago/);
  expect(out).toMatch(/lag +unknown/);
  expect(out).toMatch(/last success +never/);
});

test('colours only a terminal', async () => {
  const handlers = { health: { getStatus: () => sampleStatus() } };
  expect((await ask(handlers, ['status'], terminal({ isTTY: true }))).out).toContain('\u001b[32mhealthy\u001b[0m');
  expect((await ask(handlers, ['status'], terminal({ isTTY: true, env: { NO_COLOR: '1' } }))).out).not.toContain(
    '\u001b',
  );
  expect((await ask(handlers, ['status'])).out).not.toContain('\u001b');
});

test('entries prints a table, filters as told, and reads the book where asked', async () => {
  const requests: contract.ListEntriesRequest[] = [];
  const entry = {
    ...{
      entryId: 'e1',
      stream: 's',
      layer: contract.Layer.OPERATIONS,
      ledger: 28_132_102,
      closeTime: ago(1_800),
      account: 'GBUVXEPL72HJSTO76CQ2CAX6UE4OPFP36ZZZQBDTOTDYMR7H6PO7QAVB',
    },
    ...{
      asset: 'native',
      amountMinor: '-125000000',
      amount: '-12.5000000',
      kind: 'payment',
      status: contract.EntryStatus.SUCCESS,
      matchKey: 'k:1',
    },
  };
  const bookRow = { book: 'default', rowId: 'r1', amountMinor: '7', entry: { account: 'a', asset: 'CX', key: 'k' } };
  const handlers: StubHandlers = {
    reconciliation: {
      listEntries: (request) => {
        requests.push(request);
        return request.side === contract.Side.BOOK ? { bookRows: [bookRow] } : { entries: [entry] };
      },
    },
  };
  const { code, out } = await ask(
    handlers,
    ['entries', '--account', 'GA', '--account', 'GB', '--from', '100'],
    terminal({ isTTY: true, env: { NO_COLOR: '1' } }),
  );
  expect(code).toBe(0);
  expect(out.split('\n').slice(0, 2)).toEqual([
    'LEDGER    TIME                  ACCOUNT    KIND          AMOUNT  ASSET   COUNTERPARTY  SUB-ACCOUNT  STATUS   KEY',
    '28132102  2026-11-22T11:30:00Z  GBUV…QAVB  payment  -12.5000000  native  –             –            success  k:1',
  ]);
  expect(requests[0]).toMatchObject({
    side: contract.Side.LEDGER,
    accounts: ['GA', 'GB'],
    range: { fromLedger: 100, toLedger: 4_294_967_295 },
    pageSize: 50,
  });
  const book = await ask(handlers, ['entries', '--book', 'default', '--json']);
  expect(jsonLines(book.out)[0]).toMatchObject({ rowId: 'r1' });
});

test('balances, gaps and policies print what there is, and gaps says when there is none', async () => {
  const balance = {
    account: 'GA',
    balance: { asset: 'native', amountMinor: '5', amount: '0.0000005' },
    state: contract.BalanceState.DERIVED,
    asOfLedger: 7,
  };
  const balances = await ask({ reconciliation: { listBalances: () => ({ balances: [balance] }) } }, ['balances']);
  expect(balances.out).toMatch(/GA +native +0\.0000005 +7 +derived\n/);
  const gap = { stream: 's', layer: contract.Layer.OPERATIONS, watch: '*', fromLedger: 100, toLedger: 109 };
  const gaps = await ask({ backfill: { listGaps: () => ({ gaps: [gap], missingLedgerCount: 10n }) } }, ['gaps']);
  expect(gaps.out).toMatch(/s +operations +\* +100 +109 +10 +unknown +–\n10 ledgers missing\n/);
  expect((await ask({ backfill: { listGaps: () => ({}) } }, ['gaps'])).out).toBe('no gaps\n');
  const policies = await ask({ reconciliation: { listPolicies: () => ({ policies: [samplePolicy()] }) } }, [
    'policies',
  ]);
  expect(policies.out).toMatch(
    /default +entries +sandbox-5f1a2b3c +default \(pushed\) +operations +inferred +1d 0h +every 5m 00s\n/,
  );
});

test('import sends a whole file with what it is, and fails where nothing was recorded', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'trueup-cli-'));
  try {
    const file = join(folder, 'book.csv');
    const content = `key,account,asset,amount\n${'k,a,native,1\n'.repeat(60_000)}`;
    await writeFile(file, content);
    let header: contract.ImportEntriesHeader | undefined;
    let committed = true;
    const handlers: StubHandlers = {
      reconciliation: {
        async importEntries(messages) {
          const hash = createHash('sha256');
          for await (const { message } of messages) {
            if (message.case === 'header') header = message.value;
            if (message.case === 'chunk') hash.update(message.value);
          }
          const state = committed ? contract.ImportState.COMMITTED : contract.ImportState.FAILED;
          const errors = committed
            ? []
            : [{ line: 3n, column: 'amount', reason: contract.ErrorReason.AMOUNT_INVALID, message: 'is no number' }];
          return {
            import: {
              id: 'i1',
              book: header!.book,
              state,
              fileName: header!.fileName,
              sha256: hash.digest('hex'),
              insertedCount: 60_000n,
              errors,
              errorCount: BigInt(errors.length),
            },
          };
        },
      },
    };
    const done = await ask(handlers, [
      'import',
      'book',
      file,
      '--book',
      'ops',
      '--complete-through',
      '2026-11-22T00:00:00Z',
      '--json',
    ]);
    expect(done.code).toBe(0);
    expect(jsonLines(done.out)[0]!['sha256']).toBe(createHash('sha256').update(content).digest('hex'));
    expect(header).toMatchObject({
      book: 'ops',
      level: contract.Level.ENTRIES,
      format: contract.ImportFormat.CSV,
      fileName: 'book.csv',
      fileSizeBytes: BigInt(content.length),
    });
    expect(header!.completeThrough?.seconds).toBe(BigInt(Date.parse('2026-11-22T00:00:00Z') / 1000));

    committed = false;
    const refused = await ask(
      handlers,
      ['import', 'book', '-', '--format', 'jsonl', '--level', 'balances'],
      terminal({ input: '{}\n' }),
    );
    expect(refused.code).toBe(1);
    expect(refused.out).toContain('failed, nothing was recorded  standard input into default');
    expect(refused.out).toMatch(/3 +amount +AMOUNT_INVALID +is no number/);
    expect(header).toMatchObject({ level: contract.Level.BALANCES, format: contract.ImportFormat.JSONL, fileName: '' });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a refusal prints its reason, its words, the fields and the fix, as JSON where asked', async () => {
  const info = { reason: 'POLICY_NOT_FOUND', domain: 'trueup.v1', metadata: { fix: 'take a name from ListPolicies' } };
  const handlers: StubHandlers = {
    reconciliation: {
      startReconciliation: () => {
        throw new ConnectError('there is no policy "x"', Code.NotFound, undefined, [
          { desc: ErrorInfoSchema, value: info },
          { desc: BadRequestSchema, value: { fieldViolations: [{ field: 'policy', description: 'is unknown' }] } },
        ]);
      },
    },
  };
  const plain = await ask(handlers, ['reconcile', '--policy', 'x', '--wait']);
  expect(plain).toEqual({
    code: 1,
    out: '',
    err: 'trueup: POLICY_NOT_FOUND: there is no policy "x"\n  policy: is unknown\n  fix: take a name from ListPolicies\n  next: trueup policies\n',
  });
  const json = await ask(handlers, ['reconcile', '--json']);
  expect(JSON.parse(json.err)).toMatchObject({ error: { reason: 'POLICY_NOT_FOUND', next: 'trueup policies' } });
});

test('an unreachable server is exit 5 with where to look', async () => {
  const { code, err } = await trueup(['status', '--server', '127.0.0.1:1', '--timeout', '5']);
  expect(code).toBe(5);
  expect(err).toMatch(/^trueup: UNREACHABLE: /);
  expect(err).toContain('trueup serve');
});

test.each([
  [['nonsense']],
  [['status', '--nonsense']],
  [['drifts', '--state', 'wrong']],
  [['entries', '--from', '0']],
  [['entries', '--from', '9', '--to', '3']],
  [['reconcile', '--level', 'other']],
  [['status', '--server', 'ftp://x']],
  [['import', 'book', 'file.pdf']],
  [['import', 'book', 'f.csv', '--complete-through', 'yesterday']],
  [['token', 'trueup', 'read']],
  [['token', 'somebody', 'king']],
  [[]],
])('wrong usage is exit 2 and says what is wrong: %j', async (args) => {
  const { code, out, err } = await trueup(args);
  expect(code).toBe(2);
  expect(out).toBe('');
  expect(err).not.toBe('');
});

test('a file that is not there is a failure in words', async () => {
  const { code, err } = await trueup(['import', 'book', 'missing.csv']);
  expect(code).toBe(1);
  expect(err).toContain('trueup: FILE_UNREADABLE: missing.csv');
});

test('help documents the exit codes', async () => {
  const { code, out } = await trueup(['--help']);
  expect(code).toBe(0);
  for (const line of [
    '1  failed',
    '2  wrong usage',
    '3  reconcile --wait: drift',
    '4  reconcile --wait: inconclusive',
    "5  the server can't be reached",
  ]) {
    expect(out).toContain(line);
  }
});

test('token shows a fresh secret once and the line whose hash is its', async () => {
  const [one, two] = [
    await trueup(['token', 'ops-1', 'operate', '--json']),
    await trueup(['token', 'ops-1', 'operate']),
  ];
  const { token, line } = JSON.parse(one.out) as { token: string; line: string };
  expect(token).toMatch(/^tu_[\w-]{43}$/);
  expect(line).toBe(`ops-1 operate sha256:${createHash('sha256').update(token).digest('hex')}`);
  expect(two.out).not.toContain(token);
  expect(two.out).toMatch(/ops-1 operate sha256:[0-9a-f]{64}\n/);
});

test('takes server and token from the environment', async () => {
  let seen: string | null = null;
  await using server = await stubGrpcServer({
    health: {
      getStatus: (_request, { requestHeader }) => {
        seen = requestHeader.get('authorization');
        return create(contract.GetStatusResponseSchema);
      },
    },
  });
  const { code } = await trueup(['status'], terminal({ env: { TRUEUP_SERVER: server.address, TRUEUP_TOKEN: 't1' } }));
  expect([code, seen]).toEqual([0, 'Bearer t1']);
});

test('ledger-health prints each gauge and its rows, what is not known as unknown, and says when there is no marketplace', async () => {
  const gauges = [
    {
      ...{ name: 'ledger_stuck_orders_pending', state: contract.GaugeState.RAISED, count: 1n },
      ageThreshold: { seconds: 1800n },
      rows: [{ rowId: 'order-1', state: 'pending', providerId: 'pay_1', amountMinor: '4900', currency: 'EUR' }],
    },
    {
      ...{ name: 'ledger_orphan_refund_rows', state: contract.GaugeState.UNREADABLE },
      failure: { message: 'no such column' },
    },
  ];
  const asked: unknown[] = [];
  const health = {
    listLedgerHealth: (request: contract.ListLedgerHealthRequest) => {
      asked.push([request.name, request.rowsLimit]);
      return { gauges };
    },
  };
  const { code, out } = await ask({ health }, ['ledger-health', '--rows', '5']);
  expect(code).toBe(0);
  expect(asked).toEqual([['', 5]]);
  expect(out).toMatch(/ledger_stuck_orders_pending +raised +1 +30m 00s +–\n/);
  expect(out).toMatch(/ledger_orphan_refund_rows +unreadable +unknown +– +– +no such column\n/);
  expect(out).toMatch(/order-1 +pending +pay_1 +4900 EUR +unknown\n/);
  const json = await ask({ health }, ['ledger-health', '--json', '--name', 'ledger_orphan_refund_rows']);
  expect(jsonLines(json.out).map((line) => (line as { name: string }).name)).toHaveLength(2);
  const none = await ask({ health: { listLedgerHealth: () => ({}) } }, ['ledger-health']);
  expect(none.out).toContain('MARKETPLACE_DATABASE_URL');
});
