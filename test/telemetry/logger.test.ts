// Goal: a line of the log carries its request and never a secret. Method: secrets are put everywhere a line can hold
// one, and the written text is searched for them.
import { expect, test } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { secretValues } from '../../src/config/secret-values.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { formatTraceparent, parseTraceparent, startTrace, withRequest } from '../../src/telemetry/tracing.ts';

function capture(secrets: readonly string[] = [], level = 'trace') {
  const lines: string[] = [];
  const log = createLogger({ level, name: 'test', secrets, destination: { write: (line) => void lines.push(line) } });
  return { log, lines, last: () => JSON.parse(lines.at(-1)!) as Record<string, unknown> };
}

test('a line is one JSON object with ISO time, level word and the deployment', () => {
  const { log, lines, last } = capture();
  log.child({ room: 'store' }).info({ n: 1, big: 2n ** 70n }, 'hello');
  expect(lines[0]!.endsWith('\n')).toBe(true);
  expect(last()).toMatchObject({ level: 'info', service: 'test', room: 'store', n: 1, msg: 'hello' });
  expect(last()['time']).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test('secrets are removed by value from messages, fields, stacks, causes and nested objects, however they are escaped', () => {
  const nasty = 'p"ss\\w/rd\n+é?&';
  const { log, lines, last } = capture(['topsecret', nasty]);
  const error = new TrueUpError('SOURCE_REFUSED', `refused topsecret`, {
    cause: new Error(`inner ${nasty}`),
    fix: 'topsecret',
  });
  log.error(
    { err: error, deep: { list: [{ value: `x${nasty}y` }] }, url: encodeURIComponent(nasty) },
    `said topsecret and ${nasty}`,
  );
  log.child({ bound: 'topsecret' }).warn({}, 'child');
  expect(lines.join('')).not.toContain('topsecret');
  expect(lines.join('')).not.toContain('w/rd');
  expect(lines.join('')).not.toContain('w%2Frd');
  expect(last()['bound']).toBe('[redacted]');
  for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
});

test('what looks like a credential is removed though nobody configured it', () => {
  const { log, lines } = capture();
  const seed = `S${'B'.repeat(55)}`;
  log.info(
    {
      url: 'postgres://me:pw123@db/x',
      note: `Bearer abcdef.ghi-jkl ${seed}`,
      authorization: 'se-1',
      a: { b: { password: 'se-2', secrets: { any: 'se-3' } } },
      list: [{ token: 'se-"4' }],
      err: Object.assign(new Error('refused'), { request: { headers: { authorization: 'se-5' } } }),
    },
    'see https://key99@rpc.example/',
  );
  log.child({ apiKey: 'se-6' }).info({}, 'child');
  for (const secret of ['pw123', 'abcdef', 'BBBB', 'se-', 'key99']) expect(lines.join('')).not.toContain(secret);
  for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
  expect(lines[0]).toContain('rpc.example');
});

test('every secret of a configuration stays out, in part and whole', () => {
  const { secrets } = readConfig(
    {
      DATABASE_URL: 'postgres://u:dbpass%2Fword@db.example/x?sslmode=require',
      TRUEUP_BOOK_URL: 'postgres://u:bookpassword@book.example/x',
      TRUEUP_BOOK_QUERY_FILE: 'q.sql',
      STELLAR_RPC_URL: 'https://rpc.example/v1/0123456789abcdef0123?apikey=querykey',
      TRUEUP_WATCH: 'all',
      SLACK_WEBHOOK_URL: 'https://hooks.example/services/T00/B00/abcdefghijklmnopqrstuvwx',
    },
    { cwd: '/', readFile: (path) => (path.endsWith('.sql') ? 'select 1' : fail(path)) },
  );
  const { log, lines } = capture(secretValues(secrets));
  log.info(
    { secrets, parts: ['dbpass/word', 'bookpassword', '0123456789abcdef0123', 'querykey', 'abcdefghijklmnopqrstuvwx'] },
    JSON.stringify(secrets),
  );
  log.info({}, 'it requires nothing');
  for (const part of ['dbpass', 'bookpass', '0123456789abcdef', 'querykey', 'abcdefghijkl'])
    expect(lines[0]).not.toContain(part);
  expect(lines[1]).toContain('requires');
});

test('lines of a request bear its ids by themselves, also after an await, and others do not', async () => {
  const { log, lines } = capture();
  await withRequest({ requestId: 'r1', traceId: 't1', actor: 'ann' }, async () => {
    await Promise.resolve();
    log.info({}, 'inside');
  });
  log.info({}, 'outside');
  expect(JSON.parse(lines[0]!)).toMatchObject({ request_id: 'r1', trace_id: 't1', actor: 'ann' });
  expect(lines[1]).not.toContain('request_id');
});

test('a trace is continued where the caller sent a sound traceparent, and begun where it did not', () => {
  const header = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00';
  const trace = startTrace(header);
  expect(trace).toMatchObject({
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    parentSpanId: '00f067aa0ba902b7',
    sampled: false,
  });
  expect(parseTraceparent(formatTraceparent(trace))).toEqual({
    traceId: trace.traceId,
    spanId: trace.spanId,
    sampled: false,
  });
  for (const bad of [
    undefined,
    '',
    'x',
    header.toUpperCase(),
    header.replace('00-', 'ff-'),
    `${header}-more`,
    header.replace(/4b.*36/, '0'.repeat(32)),
  ]) {
    expect(parseTraceparent(bad), String(bad)).toBeNull();
    expect(startTrace(bad)).toMatchObject({
      parentSpanId: null,
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
  }
});

function fail(path: string): never {
  throw Object.assign(new Error(`ENOENT ${path}`), { code: 'ENOENT' });
}
