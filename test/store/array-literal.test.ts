// Goal: an array written in PostgreSQL's own form arrives as it was, whatever its texts are made of. Method: a real server reads it back.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { arrayLiteral } from '../../src/store/array-literal.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';

describe('array literals', () => {
  let test: TestDatabase;
  beforeAll(async () => void (test = await createTestDatabase({ migrated: false })));
  afterAll(() => test.drop());

  const readBack = async (type: string, literal: string): Promise<unknown[]> => {
    const rows = await sql<{ value: unknown }>(
      test.db.em(),
      `select value::text from unnest($1::${type}[]) with ordinality as t (value, n) order by n`,
      [literal],
    );
    return rows.map(({ value }) => value);
  };

  it('keep texts that look like syntax', async () => {
    const texts = [
      null,
      '',
      'NULL',
      'null',
      'nullable',
      ' x ',
      'a,b',
      '{}',
      '"',
      '\\',
      '\\"',
      "'",
      'a\nb\t',
      'ü',
      '💶',
    ];
    expect(await readBack('text', arrayLiteral(texts))).toEqual(texts);
  });

  it('keep any text that PostgreSQL can hold', async () => {
    // It holds every character but the zero, in well-formed text.
    const text = fc.string({ unit: 'binary' }).map((each) => each.replaceAll('\0', ''));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.option(text)), async (texts) => {
        expect(await readBack('text', arrayLiteral(texts))).toEqual(texts);
      }),
      { numRuns: 100 },
    );
  });

  it('carry numbers past 2^53, booleans and bytes', async () => {
    expect(await readBack('numeric', arrayLiteral([-(2n ** 127n), 0n, 2n ** 127n - 1n, null]))).toEqual([
      '-170141183460469231731687303715884105728',
      '0',
      '170141183460469231731687303715884105727',
      null,
    ]);
    expect(await readBack('int', arrayLiteral([-1, 0, 2_147_483_647]))).toEqual(['-1', '0', '2147483647']);
    expect(await readBack('boolean', arrayLiteral([true, false]))).toEqual(['true', 'false']);
    expect(await readBack('bytea', arrayLiteral(['\\x00ff', null]))).toEqual(['\\x00ff', null]);
    expect(await readBack('text', arrayLiteral([]))).toEqual([]);
  });
});
