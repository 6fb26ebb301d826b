// Goal: ids are told from typing mistakes by their checksum. Method: ids from SEP-23 and from public networks, and
// every single-character change of one of them.
import { expect, test } from 'vitest';
import { isStrkey } from './strkey.ts';

const ACCOUNT = 'GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ';
const CONTRACT = 'CA3D5KRYM6CB7OWQ6TWYRR3Z4T7GNZLKERYNZGGA5SOAOPIFY6YQGAXE';
const MUXED = 'MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVAAAAAAAAAAAAAJLK';

test('accepts accounts, contracts and muxed accounts, each as its own kind only', () => {
  expect(isStrkey('account', ACCOUNT)).toBe(true);
  expect(isStrkey('contract', CONTRACT)).toBe(true);
  expect(isStrkey('muxed', MUXED)).toBe(true);
  expect(isStrkey('contract', ACCOUNT)).toBe(false);
  expect(isStrkey('account', CONTRACT)).toBe(false);
  expect(isStrkey('account', MUXED)).toBe(false);
  expect(isStrkey('account', '')).toBe(false);
});

test('refuses every single-character mistake, lower case and foreign characters', () => {
  for (let at = 0; at < ACCOUNT.length; at += 1) {
    const wrong = ACCOUNT.slice(0, at) + (ACCOUNT[at] === 'A' ? 'B' : 'A') + ACCOUNT.slice(at + 1);
    expect(isStrkey('account', wrong), wrong).toBe(false);
  }
  expect(isStrkey('account', ACCOUNT.toLowerCase())).toBe(false);
  expect(isStrkey('account', ACCOUNT.replace('Q', '1'))).toBe(false);
});
