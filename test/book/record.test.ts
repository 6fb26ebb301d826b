// Goal: a push says once what it says, a correction leaves its trace, and nothing is half recorded.
// Method: the service against a real database, reading back what the store holds.
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseBookRow } from '../../src/core/book.ts';
import type { BookRowInput } from '../../src/core/book.ts';
import { parseBookCall, recordEntries, streamEntries } from '../../src/services/book.ts';
import type { RecordCall } from '../../src/services/book.ts';
import { listBookRowPage } from '../../src/store/book-lists.ts';
import { findBook } from '../../src/store/books.ts';
import type { Caller } from '../../src/store/audit.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

const G = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(7) as never);
const caller: Caller = {
  actor: 'tester',
  role: 'operate',
  method: 'trueup.v1.ReconciliationService/RecordEntries',
  requestId: '',
  traceId: null,
};
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

function row(columns: Record<string, unknown> = {}): BookRowInput {
  return parseBookRow({ key: 'k1', account: G, asset: 'native', amount: '1', ...columns });
}

function record(book: string, rows: readonly BookRowInput[], more: Partial<RecordCall> = {}) {
  return recordEntries(database, { book, rows, balances: [], completeThrough: null, requestId: null, ...more }, caller);
}

async function stored(book: string, withRetracted = false) {
  const found = await findBook(database.db.em(), book);
  const { items } = await listBookRowPage(database.db.em(), found!.id, { book }, { size: 1000, after: null });
  return items.filter((each) => withRetracted || !each.retracted);
}

describe('revisions', () => {
  test('the same row again changes nothing, another content is a new revision and the old one is kept', async () => {
    expect((await record('rev', [row({ row_id: 'a', amount: '100' })])).entries).toMatchObject({
      inserted: 1,
      revised: 0,
    });
    expect((await record('rev', [row({ row_id: 'a', amount: '100.0' })])).entries).toMatchObject({
      inserted: 0,
      unchanged: 1,
    });
    expect((await record('rev', [row({ row_id: 'a', amount: '101' })])).entries).toMatchObject({
      revised: 1,
      unchanged: 0,
    });
    expect(await stored('rev')).toMatchObject([{ rowId: 'a', revision: 2, amount: 1_010_000_000n }]);
    const old = await sql(
      database.db.em(),
      `select revision, amount::text as amount from trueup.book_entry_revisions where row_id = 'a'`,
    );
    expect(old).toEqual([{ revision: 1, amount: '1000000000' }]);
  });

  test('every field counts as content, also one that becomes unknown', async () => {
    await record('fields', [row({ row_id: 'a', status: 'paid', occurred_at: '2026-01-01T00:00:00Z', ledger: 5 })]);
    for (const change of [
      { status: 'failed' },
      { status: '' },
      { occurred_at: '2026-01-01T00:00:01Z' },
      { ledger: 6 },
      { kind: 'fee' },
    ]) {
      expect((await record('fields', [row({ row_id: 'a', ...change })])).entries.revised).toBe(1);
    }
  });

  test('a retraction takes the row back and can be taken back itself', async () => {
    await record('retract', [row({ row_id: 'a', amount: '7' })]);
    const retraction = row({ row_id: 'a', amount: '', retracted: true });
    expect((await record('retract', [retraction])).entries).toMatchObject({ retracted: 1, revised: 0 });
    expect((await record('retract', [retraction])).entries).toMatchObject({ retracted: 0, unchanged: 1 });
    expect(await stored('retract')).toEqual([]);
    expect(await stored('retract', true)).toMatchObject([{ retracted: true, amount: 70_000_000n, revision: 2 }]);
    expect((await record('retract', [row({ row_id: 'a', amount: '7' })])).entries).toMatchObject({ revised: 1 });
    expect(await stored('retract')).toMatchObject([{ retracted: false, revision: 3 }]);
  });

  test('refuses to retract what was never there, and records nothing of that call', async () => {
    const call = record('ghost', [row({ row_id: 'real' }), row({ row_id: 'ghost', amount: '', retracted: true })]);
    await expect(call).rejects.toMatchObject({
      reason: 'INVALID_REQUEST',
      details: { fields: [{ field: 'entries[1].row_id' }] },
    });
    expect(await findBook(database.db.em(), 'ghost')).toBeNull();
  });
});

describe('identity', () => {
  test('equal rows of one call are duplicates that can be seen, and the call again adds none', async () => {
    expect((await record('dup', [row(), row(), row({ amount: '2' })])).entries.inserted).toBe(3);
    expect((await record('dup', [row(), row(), row({ amount: '2' })])).entries).toMatchObject({
      inserted: 0,
      unchanged: 3,
    });
    expect((await stored('dup')).map((each) => each.amount).sort()).toEqual([10_000_000n, 10_000_000n, 20_000_000n]);
  });

  test('one id with two contents in one call is refused, with one content it is one row', async () => {
    const twice = record('twice', [row({ row_id: 'a' }), row({ row_id: 'a', amount: '2' })]);
    await expect(twice).rejects.toMatchObject({ reason: 'INVALID_REQUEST' });
    expect((await record('twice', [row({ row_id: 'a' }), row({ row_id: 'a' })])).entries).toMatchObject({
      inserted: 1,
      unchanged: 1,
    });
  });

  test('a repeated request answers as the first time, and with other rows is refused', async () => {
    const requestId = crypto.randomUUID();
    const first = await record('req', [row({ row_id: 'a' })], {
      requestId,
      completeThrough: new Date('2026-01-01T00:00:00Z'),
    });
    expect(
      await record('req', [row({ row_id: 'a' })], { requestId, completeThrough: new Date('2026-01-01T00:00:00Z') }),
    ).toEqual(first);
    await expect(record('req', [row({ row_id: 'b' })], { requestId })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  test('writers of one book at the same time lose nothing', async () => {
    const ids = Array.from({ length: 200 }, (_, index) => `r${index}`);
    const calls = Array.from({ length: 6 }, (_, call) =>
      record(
        'race',
        ids.toSorted(() => (call % 2 === 0 ? 1 : -1)).map((id) => row({ row_id: id, amount: String(call + 1) })),
      ),
    );
    const answers = await Promise.all(calls);
    expect(answers.reduce((sum, answer) => sum + answer.entries.inserted, 0)).toBe(200);
    expect(answers.reduce((sum, answer) => sum + answer.entries.revised, 0)).toBe(1000);
    expect((await stored('race')).every((each) => each.revision === 6)).toBe(true);
  });
});

describe('completeness', () => {
  test('never moves back, and an entry does not make balances fresh', async () => {
    const early = new Date('2026-01-01T00:00:00Z');
    const late = new Date('2026-02-01T00:00:00Z');
    expect((await record('through', [row()], { completeThrough: late })).entries.completeThrough).toEqual(late);
    const answer = await record('through', [], { completeThrough: early });
    expect(answer.entries.completeThrough).toEqual(late);
    expect(answer.balances.completeThrough).toBeNull();
    const balance = { account: G, asset: 'native', amount: 5n, asOfLedger: 0 };
    const stated = await record('through', [], { balances: [balance], completeThrough: early });
    expect(stated.balances).toMatchObject({ inserted: 1, completeThrough: early });
    expect((await record('through', [], { balances: [{ ...balance, amount: 6n }] })).balances.revised).toBe(1);
  });
});

describe('streams', () => {
  async function* messages(count: number, size: number, failAt = -1) {
    for (let message = 0; message < count; message++) {
      if (message === failAt) throw new Error('the client went away');
      yield {
        rows: Array.from({ length: size }, (_, index) => row({ key: `k${(message * size + index) % 50}` })),
        balances: [],
      };
    }
  }

  test('a broken stream sent again ends where an unbroken one does', async () => {
    const header = {
      book: 'stream',
      completeThrough: new Date('2026-03-01T00:00:00Z'),
      requestId: crypto.randomUUID(),
    };
    await expect(streamEntries(database, header, messages(5, 40, 3), caller)).rejects.toThrow('went away');
    expect((await findBook(database.db.em(), 'stream'))!.completeThrough).toBeNull();
    const answer = await streamEntries(database, header, messages(5, 40), caller);
    expect(answer).toMatchObject({
      batches: 5,
      entries: { inserted: 80, unchanged: 120, completeThrough: header.completeThrough },
    });
    expect(await stored('stream')).toHaveLength(200);
    expect(await streamEntries(database, header, messages(5, 40), caller)).toEqual(answer);
    await expect(streamEntries(database, header, messages(4, 40), caller)).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });
});

test('every recording leaves its audit row in its own transaction', async () => {
  await record('audited', [row()]);
  const rows = await sql(
    database.db.em(),
    `select actor, after->'entries'->>'inserted' as inserted from trueup.audit_log where resource = 'books/audited'`,
  );
  expect(rows).toEqual([{ actor: 'tester', inserted: '1' }]);
});

test('bad fields of a call are named by their place', () => {
  const call = () =>
    parseBookCall(
      [{}, { key: 'k', account: G, asset: 'native', amount: 0.1 }],
      [{ account: G, asset: 'x', balance: '1' }],
    );
  let fields: string[] = [];
  try {
    call();
  } catch (error) {
    fields = (error as { details: { fields: { field: string }[] } }).details.fields.map((each) => each.field);
  }
  expect(fields).toEqual(
    expect.arrayContaining(['entries[0].account', 'entries[0].asset', 'entries[1].amount', 'balances[0].asset']),
  );
});
