// Goal: a run of ledger headers is a proof: no header can be changed, left out or put in another place.
// Method: 406 contiguous public network headers as recorded, each hashed, linked, and then tampered with.
import { describe, expect, it } from 'vitest';
import { isTrueUpError } from '../../src/core/errors.ts';
import { readHeaderXdr, verifyChain, type VerifiedHeader } from '../../src/sources/stellar/header.ts';
import { hasSharedData } from '../_util/shared-data.ts';
import { readRows } from '../_util/stellar-expected.ts';

function failureOf(run: () => unknown) {
  try {
    run();
  } catch (error) {
    if (isTrueUpError(error)) return error;
    throw error;
  }
  throw new Error('nothing failed');
}

describe.skipIf(!hasSharedData)('406 public network headers', () => {
  const rows = hasSharedData ? readRows('stellar-etl-golden/ledgers/2024_ledgers.golden.gz') : [];
  const read = (row: (typeof rows)[number]): VerifiedHeader =>
    readHeaderXdr(String(row['ledger_header']), String(row['ledger_hash']), Number(row['sequence']));
  const headers = rows.map(read);

  it('hash to what they state and follow one another', () => {
    expect(headers).toHaveLength(406);
    expect(headers.map(({ closeTime }) => closeTime * 1000)).toEqual(
      rows.map((row) => Date.parse(String(row['closed_at']))),
    );
    verifyChain(headers);
    verifyChain(headers, String(rows[0]!['previous_ledger_hash']));
  });

  it('name the ledgers that are missing', () => {
    for (const at of [1, 200, 404]) {
      const error = failureOf(() => verifyChain(headers.toSpliced(at, 1)));
      const lost = headers[at]!.sequence;
      expect([error.reason, error.details.range]).toEqual(['SOURCE_CORRUPT', { from: lost, to: lost + 1 }]);
    }
    const run = failureOf(() => verifyChain(headers.toSpliced(10, 20)));
    expect(run.details.range).toEqual({ from: headers[10]!.sequence, to: headers[30]!.sequence });
  });

  it('refuse one that was changed, and one that is of another history', () => {
    const at = 7;
    const bytes = Buffer.from(String(rows[at]!['ledger_header']), 'base64');
    bytes[150]! ^= 1;
    const changed = failureOf(() => read({ ...rows[at]!, ledger_header: bytes.toString('base64') }));
    expect([changed.reason, changed.details.range]).toEqual([
      'SOURCE_CORRUPT',
      { from: headers[at]!.sequence, to: headers[at]!.sequence + 1 },
    ]);
    const swapped = headers.with(at, { ...headers[at]!, prevHash: headers[at]!.hash });
    expect(failureOf(() => verifyChain(swapped)).details.range?.from).toBe(headers[at]!.sequence);
    const fork = failureOf(() => verifyChain(headers, 'f'.repeat(64)));
    expect([fork.reason, fork.details.range?.from]).toEqual(['SOURCE_DIVERGED', headers[0]!.sequence]);
  });
});
