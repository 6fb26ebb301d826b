import { describe, expect, it } from 'vitest';
import { keepSamples, rateOver, type CounterSample } from './rates.ts';

const at = (seconds: number, count: number): CounterSample => ({ atMs: seconds * 1000, count: BigInt(count) });

describe('rateOver', () => {
  it('tells nothing before there is anything to measure', () => {
    expect(rateOver([], 10_000)).toBeNull();
    expect(rateOver([at(0, 5)], 10_000)).toBeNull();
    expect(rateOver([at(0, 5), at(1, 9)], 10_000)).toBeNull();
  });

  it('measures from the sample whose age is nearest to the span', () => {
    const samples = [at(0, 0), at(50, 100), at(55, 200), at(60, 400)];
    expect(rateOver(samples, 10_000)).toBe(30);
    expect(rateOver(samples, 60_000)).toBe(400 / 60);
  });

  it('takes no sample that is far too old or from before a counter began again', () => {
    expect(rateOver([at(0, 0), at(600, 60_000)], 60_000)).toBeNull();
    expect(rateOver([at(0, 500), at(10, 20)], 10_000)).toBeNull();
  });
});

describe('keepSamples', () => {
  it('stays bounded however often it is fed, and its newest sample is always the last one given', () => {
    let samples: CounterSample[] = [];
    for (let i = 0; i <= 2000; i++) {
      samples = keepSamples(samples, at(i / 10, i), 90_000, 1_000);
      expect(samples.at(-1)).toEqual(at(i / 10, i));
      expect(samples.length).toBeLessThanOrEqual(93);
    }
    expect(rateOver(samples, 60_000)).toBeCloseTo(10, 5);
    expect(rateOver(samples, 10_000)).toBeCloseTo(10, 5);
  });
});
