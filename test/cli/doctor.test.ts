// Goal: the book's doctor shows rows as they are understood and says what to fix. Method: reports as the service makes
// them, printed into a kept stream.
import { expect, test } from 'vitest';
import { type BookReport, printDoctorBook } from '../../src/cli/doctor-lines.ts';
import { terminal } from './terminal.ts';

const ready: BookReport = {
  book: 'postgres query on db.internal/shop as reader',
  level: 'entries',
  rows: [
    { columns: { key: 'ab:1', account: 'GA', asset: 'native', amount: '12.5000000' }, problem: null },
    {
      columns: { key: 'cd:1', account: 'GB', asset: 'native', amount: 'twelve' },
      problem: 'amount is not a decimal number',
    },
  ],
  join: { join: 'operation', reason: '200 of 200 sampled keys are operations written as hash:operation' },
  overlap: { sampled: 200, found: 180 },
  fixes: [],
  notes: ['the others may lie outside what has been read so far'],
};

test('shows five mapped rows, the join, the overlap and the notes, and exits 0 where nothing is to fix', async () => {
  const world = terminal();
  expect(await printDoctorBook(world, ready, false)).toBe(0);
  expect(world.printed()).toBe(
    [
      'ready  postgres query on db.internal/shop as reader, entries',
      '',
      'KEY   ACCOUNT  ASSET   AMOUNT      UNDERSTOOD',
      'ab:1  GA       native  12.5000000  ok',
      'cd:1  GB       native  twelve      amount is not a decimal number',
      '',
      'join: operation; 200 of 200 sampled keys are operations written as hash:operation',
      'keys: 180 of 200 sampled keys are on the ledger',
      'note: the others may lie outside what has been read so far',
      '',
    ].join('\n'),
  );
});

test('says what to fix and exits 1, in JSON too', async () => {
  const bad = {
    ...ready,
    level: null,
    rows: [],
    join: null,
    overlap: null,
    notes: [],
    fixes: ['the query gives no row; check its conditions'],
  };
  const [plain, json] = [terminal(), terminal()];
  expect(await printDoctorBook(plain, bad, false)).toBe(1);
  expect(plain.printed()).toBe(
    'not ready  postgres query on db.internal/shop as reader\nfix: the query gives no row; check its conditions\n',
  );
  expect(await printDoctorBook(json, bad, true)).toBe(1);
  expect(JSON.parse(json.printed())).toEqual(bad);
});
