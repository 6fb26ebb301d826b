// Goal: an export in JSON is one array, wherever the bytes are cut. Method: random rows in random pieces through the stage.
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonArray } from '../../src/services/export-bytes.ts';

const through = (pieces: Buffer[]): Promise<string> => text(Readable.from(pieces).pipe(new JsonArray()));

test('lines become one array, wherever they are cut', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.json()), fc.array(fc.integer({ min: 1, max: 40 })), async (rows, cuts) => {
      const values = rows.map((row) => JSON.stringify(JSON.parse(row)));
      const bytes = Buffer.from(values.map((row) => `${row}\n`).join(''));
      const pieces: Buffer[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = cuts[i % cuts.length] ?? bytes.length;
        pieces.push(bytes.subarray(at, (at += length)));
      }
      expect(JSON.parse(await through(pieces))).toEqual(values.map((row) => JSON.parse(row) as unknown));
    }),
  );
});

test('no line is an empty array', async () => {
  expect(await through([])).toBe('[]\n');
});
