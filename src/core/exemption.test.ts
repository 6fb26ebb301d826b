// Goal: an exemption covers what it names, until it ends, and nothing beside. Method: by hand.
import { expect, it } from 'vitest';
import type { DriftKind } from './drift.ts';
import { exemptionsAt, type Exemption } from './exemption.ts';
import type { Item } from './match.ts';

const item = (account: string, asset = 'native'): Item => ({
  account,
  asset,
  amount: 1n,
  kind: null,
  status: null,
  counterparty: null,
  subAccount: null,
  atMs: null,
  ledger: null,
  txHash: null,
  rowIds: [],
});
const until = (ms: number, match: Exemption['match'], reason = 'known'): Exemption => ({
  match,
  reason,
  owner: 'someone',
  expiresAt: new Date(ms),
});
const missing = (account: string, kinds: DriftKind[] = ['MISSING_IN_DB']) => ({
  kinds,
  ledger: item(account),
  book: null,
});

it('covers what it names on either side, and only while all of it holds', () => {
  const { of } = exemptionsAt([until(100, { account: 'GA', asset: 'native' })], 0);
  expect(of('k', missing('GA'))).toEqual({ reason: 'known', owner: 'someone', expiresAt: new Date(100) });
  expect(of('k', { kinds: ['ACCOUNT_MISMATCH'], ledger: item('GB'), book: item('GA') })).not.toBeNull();
  expect(of('k', missing('GB'))).toBeNull();
  expect(of('k', { kinds: ['MISSING_IN_DB'], ledger: item('GA', 'USD:G'), book: null })).toBeNull();
  const byKey = exemptionsAt([until(100, { key: 'k' })], 0);
  expect([byKey.of('k', missing('GA')) !== null, byKey.of('K', missing('GA')) !== null]).toEqual([true, false]);
});

it('of one kind hides no other kind of the same item', () => {
  const { of } = exemptionsAt([until(100, { kind: 'TIME_MISMATCH' })], 0);
  expect(of('k', missing('GA', ['TIME_MISMATCH']))).not.toBeNull();
  expect(of('k', missing('GA', ['TIME_MISMATCH', 'AMOUNT_MISMATCH']))).toBeNull();
});

it('ends at its moment, exclusive, and the longest of several counts', () => {
  const all = [until(100, { key: 'k' }, 'short'), until(200, { key: 'k' }, 'long')];
  expect(exemptionsAt(all, 99).of('k', missing('GA'))?.reason).toBe('long');
  const later = exemptionsAt(all, 100);
  expect(later.expired.map((each) => each.reason)).toEqual(['short']);
  expect(exemptionsAt(all, 200).of('k', missing('GA'))).toBeNull();
});
