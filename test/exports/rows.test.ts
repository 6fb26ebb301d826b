// Goal: an export holds every row that was asked for, as it is stored, in a form that nobody's spreadsheet runs; its manifest says what
// its bytes are. Method: rows by hand in a real database, each kind in each format, read back with other people's parsers.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXPORT_COLUMNS } from '../../src/core/export-columns.ts';
import { csvLine } from '../../src/core/csv.ts';
import { writeAudit } from '../../src/store/audit.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openExportHouse } from '../_util/exports.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { testCaller } from '../_util/services.ts';
import { failureOf } from '../_util/failure-of.ts';

const FREE_TEXTS = ['=1+1', '+1', '-1', '@cmd', '\tx', '\rx', 'a "quoted", cell', 'two\nlines', '', 'plain', "'=kept"];
const CONTRACT = 'CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA';

let database: TestDatabase;
let house: House;
let folder: string;
let exports: ReturnType<typeof openExportHouse>;

beforeAll(async () => {
  database = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'trueup-exports-'));
  house = await openHouse(database.db);
  exports = openExportHouse({ db: database.db, folder, networkPassphrase: house.name });
  await house.ledgers({ from: 1, to: 201 }, [
    ...FREE_TEXTS.map((subAccount, i) => ({ ledger: 10, txIndex: i + 1, account: 'GA', amount: 5n, subAccount })),
    { ledger: 11, account: 'GA', amount: -1234567n, asset: 'native' },
    { ledger: 12, account: 'GB', amount: 2n ** 120n, asset: CONTRACT },
    { ledger: 13, account: 'GB', amount: 1n, counterparty: null, status: 'failed', resultCode: 'op_no_trust' },
  ]);
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

const csvOf = (bytes: Buffer): Record<string, string>[] => parse(bytes, { columns: true });

describe('entries', () => {
  test('are all there, in the ledger order, with exact amounts', async () => {
    const { bytes, job } = await exports.exported({ kind: 'entries' });
    const rows = csvOf(bytes);
    expect(rows).toHaveLength(FREE_TEXTS.length + 3);
    expect(job).toMatchObject({ state: 'completed', progress: { rows: rows.length } });
    expect(rows.at(-3)).toMatchObject({
      amount: '-0.1234567',
      amount_minor: '-1234567',
      asset: 'native',
      status: 'success',
    });
    expect(rows.at(-2)).toMatchObject({ amount: '', amount_minor: (2n ** 120n).toString(), asset: CONTRACT });
    expect(rows.at(-1)).toMatchObject({ status: 'failed', result_code: 'op_no_trust', counterparty: '', ledger: '13' });
    expect(rows[0]!.entry_id).toBe(`${house.opened.stream.name}/10-1-1-0-o`);
    expect(rows[0]!.close_time).toBe(house.timeOf(10).toISOString().replace('.000', ''));
  });

  test("no cell is a spreadsheet's formula, and the others are untouched", async () => {
    const rows = csvOf((await exports.exported({ kind: 'entries', filter: { range: { from: 10, to: 11 } } })).bytes);
    expect(rows.map((row) => row.sub_account)).toEqual(
      FREE_TEXTS.map((text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text)),
    );
  });

  test('are written by the server as our own CSV writes them', async () => {
    const csv = (await exports.exported({ kind: 'entries' })).bytes.toString();
    const lines = (await exports.exported({ kind: 'entries', format: 'jsonl' })).bytes.toString().trimEnd().split('\n');
    const columns = EXPORT_COLUMNS.entries;
    const ours = lines
      .map((line) => JSON.parse(line) as Record<string, string | number | null>)
      .map((row) =>
        csvLine(
          columns,
          columns.map(({ name }) => row[name] as string | null),
        ),
      );
    expect(csv).toBe(`${columns.map(({ name }) => name).join(',')}\n${ours.join('')}`);
  });

  test('are the same in every format and compression', async () => {
    const of = async (format: 'json' | 'jsonl', compression: 'none' | 'gzip' | 'zstd') =>
      (await exports.exported({ kind: 'entries', format, compression })).bytes;
    const json = JSON.parse((await of('json', 'none')).toString()) as unknown[];
    const lines = (bytes: Buffer) =>
      bytes
        .toString()
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown);
    expect(lines(await of('jsonl', 'none'))).toEqual(json);
    expect(lines(gunzipSync(await of('jsonl', 'gzip')))).toEqual(json);
    expect(lines(zstdDecompressSync(await of('jsonl', 'zstd')))).toEqual(json);
  });

  test('are those of the filter, at the edges of a range and a time too', async () => {
    const count = async (filter: Parameters<typeof exports.exported>[0]['filter']) =>
      csvOf((await exports.exported({ kind: 'entries', filter: filter! })).bytes).length;
    expect(await count({ range: { from: 11, to: 12 } })).toBe(1);
    expect(await count({ range: { from: 14, to: 201 } })).toBe(0);
    expect(await count({ accounts: ['GB'] })).toBe(2);
    expect(await count({ accounts: ['GB'], assets: [CONTRACT] })).toBe(1);
    expect(await count({ accounts: ["G'; drop table trueup.entries; --"] })).toBe(0);
    expect(await count({ from: house.timeOf(12) })).toBe(2);
    expect(await count({ to: house.timeOf(12) })).toBe(FREE_TEXTS.length + 1);
  });

  test('say how completely their ledgers were read', async () => {
    const whole = (await exports.exported({ kind: 'entries', filter: { range: { from: 64, to: 192 } } })).draft;
    expect(whole.content.coverage).toMatchObject([{ fromLedger: 64, toLedger: 191, complete: true, missing: [] }]);
    expect(whole.content.coverage[0]!.digest).toMatch(/^0:0{32}$/);
    const beyond = (await exports.exported({ kind: 'entries', filter: { range: { from: 150, to: 301 } } })).draft;
    expect(beyond.content.coverage).toMatchObject([
      { complete: false, missing: [{ fromLedger: 201, toLedger: 300 }], digest: null },
    ]);
  });
});

describe('the artifact', () => {
  test('is what its manifest says, part for part', async () => {
    const small = openExportHouse({ db: database.db, folder, networkPassphrase: house.name, partBytes: 1000 });
    const { bytes, draft } = await small.exported({ kind: 'entries' });
    const { content } = draft;
    expect(content.sizeBytes).toBe(bytes.length);
    expect(content.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(content.parts.length).toBe(Math.ceil(bytes.length / 1000));
    content.parts.forEach((part, i) => {
      const piece = bytes.subarray(i * 1000, (i + 1) * 1000);
      expect(part).toEqual({ sizeBytes: piece.length, sha256: createHash('sha256').update(piece).digest('hex') });
    });
    expect(content.rowCount).toBe(csvOf(bytes).length);
  });

  test('is the same, and so is what its manifest says of it, when the same cut is exported twice', async () => {
    const [a, b] = [await exports.exported({ kind: 'entries' }), await exports.exported({ kind: 'entries' })];
    expect(a.bytes.equals(b.bytes)).toBe(true);
    const { cut, ...content } = a.draft.content;
    const { cut: _, ...again } = b.draft.content;
    expect(again).toEqual(content);
    expect(cut.ledger).toBe(200);
  });

  test('of no rows has a header, and one empty part is still a part', async () => {
    const none = { kind: 'entries', filter: { accounts: ['GNOBODY'] } } as const;
    expect((await exports.exported(none)).bytes.toString()).toBe(
      `${EXPORT_COLUMNS.entries.map((c) => c.name).join(',')}\n`,
    );
    const jsonl = await exports.exported({ ...none, format: 'jsonl' });
    expect([jsonl.bytes.length, jsonl.draft.content.parts.length]).toEqual([0, 1]);
    expect((await exports.exported({ ...none, format: 'json' })).bytes.toString()).toBe('[]\n');
  });
});

describe('the other kinds', () => {
  beforeAll(async () => {
    await house.record([house.row(11, { account: 'GA', amount: -999n })], 200);
    await house.run();
    await writeAudit(database.db.em(), testCaller, { resourceType: 'drift', resourceId: '=evil', after: { n: 1 } });
  });

  test('drifts show both sides, with money as minor units', async () => {
    const { bytes } = await exports.exported({ kind: 'drifts', format: 'jsonl', filter: { policy: house.name } });
    const rows = bytes
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const drift = rows.find((row) => (row.kinds as string).includes('AMOUNT_MISMATCH'))!;
    expect(drift).toMatchObject({
      ledger_side: { amount_minor: '-1234567', ledger: 11 },
      book_side: { amount_minor: '-999' },
      state: 'open',
      sandbox: false,
    });
    const stored = await sql<{ count: string }>(database.db.em(), 'select count(*)::text as count from trueup.drifts');
    expect(rows.length).toBe(Number(stored[0]!.count));
  });

  test('runs carry their counts and their digest, and the manifest names them', async () => {
    const { bytes, draft } = await exports.exported({ kind: 'runs' });
    const [run] = csvOf(bytes);
    expect(run).toMatchObject({ policy: house.name, state: 'succeeded', cut_ledger: '200', sandbox: 'false' });
    expect(draft.content.runs).toEqual([{ id: run!.id, digest: run!.result_digest }]);
  });

  test('the audit log is guarded too', async () => {
    const rows = csvOf((await exports.exported({ kind: 'audit', filter: { actor: 'test' } })).bytes);
    expect(rows.find((row) => row.resource === 'drift/=evil')).toMatchObject({ after: '{"n": 1}', before: '' });
  });

  test('a statement adds up, and has the balance that the ledger side derives', async () => {
    const { bytes } = await exports.exported({ kind: 'statement', filter: { accounts: ['GA'] } });
    const [line] = csvOf(bytes);
    const total = 5n * BigInt(FREE_TEXTS.length) - 1234567n;
    expect(line).toMatchObject({
      account: 'GA',
      asset: 'native',
      state: 'derived',
      opening_minor: '0',
      fees_minor: '0',
    });
    expect(line).toMatchObject({
      in_minor: `${5 * FREE_TEXTS.length}`,
      out_minor: '1234567',
      closing_minor: `${total}`,
    });
    expect(line).toMatchObject({ book_closing: '' });
  });

  test('a statement has the closing of the book that is named', async () => {
    const { bytes } = await exports.exported({ kind: 'statement', filter: { accounts: ['GA'], book: house.name } });
    expect(csvOf(bytes)[0]).toMatchObject({ book_closing_minor: '-999' });
    const { id } = await exports.start({ kind: 'statement', filter: { book: 'nobody' } });
    expect((await failureOf(exports.work(id))).reason).toBe('BOOK_NOT_FOUND');
    expect(await exports.service.get(id)).toMatchObject({ state: 'failed', error: { reason: 'BOOK_NOT_FOUND' } });
  });
});
