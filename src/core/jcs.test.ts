// Goal: canonical JSON is RFC 8785's. Method: the RFC author's own vectors, and the edges that they leave out.
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { hasSharedData, sharedData } from '../../test/_util/shared-data.ts';
import { canonicalBytes, canonicalJson, readCanonical, type Json } from './jcs.ts';

const vectors = 'conformance-suites/jcs-rfc8785';

describe.skipIf(!hasSharedData)('vectors of RFC 8785 (skipped where ../shared/data is absent)', () => {
  const names = hasSharedData ? readdirSync(sharedData(`${vectors}/input`)) : [];
  it.each(names)('writes %s to the byte', (name) => {
    const input = JSON.parse(readFileSync(sharedData(`${vectors}/input/${name}`), 'utf8')) as Json;
    const hex = readFileSync(sharedData(`${vectors}/outhex/${name.replace('.json', '.txt')}`), 'utf8');
    expect(canonicalBytes(input).toString('hex')).toBe(hex.replaceAll(/\s/g, ''));
    expect(canonicalBytes(input)).toEqual(readFileSync(sharedData(`${vectors}/output/${name}`)));
  });
});

// RFC 8785, appendix B: an IEEE 754 number's bits and what is written for it.
it.each([
  ['0000000000000000', '0'],
  ['8000000000000000', '0'],
  ['0000000000000001', '5e-324'],
  ['7fefffffffffffff', '1.7976931348623157e+308'],
  ['4340000000000000', '9007199254740992'],
  ['4430000000000000', '295147905179352830000'],
  ['44b52d02c7e14af5', '9.999999999999997e+22'],
  ['44b52d02c7e14af6', '1e+23'],
  ['444b1ae4d6e2ef4e', '999999999999999700000'],
  ['444b1ae4d6e2ef50', '1e+21'],
  ['3eb0c6f7a0b5ed8d', '0.000001'],
  ['41b3de4355555553', '333333333.3333332'],
  ['becbf647612f3696', '-0.0000033333333333333333'],
  ['43143ff3c1cb0959', '1424953923781206.2'],
])('writes the number of bits %s as %s', (bits, text) => {
  expect(canonicalJson(Buffer.from(bits, 'hex').readDoubleBE())).toBe(text);
});

it('refuses what JSON has no word for', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, '\ud800', { '\udfff': 1 }])
    expect(() => canonicalJson(value)).toThrow('no canonical JSON');
});

it('leaves out what is undefined', () => {
  expect(canonicalJson({ b: undefined, a: [null] })).toBe('{"a":[null]}');
});

it('reads back exactly what it wrote, and nothing else', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
      const bytes = canonicalBytes(value as Json);
      expect(canonicalBytes(readCanonical(bytes)!).equals(bytes)).toBe(true);
    }),
    cases(100),
  );
  for (const text of ['{"a":1 }', '{"b":1,"a":2}', '{"a":1,"a":1}', '1.0', '"\\u0061"', '\ufeff1', '', '{'])
    expect(readCanonical(Buffer.from(text))).toBeUndefined();
});
