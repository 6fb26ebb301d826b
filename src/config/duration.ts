// Durations as people write them in trueup.yaml.
import { z } from 'zod';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `5m`, `1h`, `300s`, `250ms`, `2d`, or a number of milliseconds. */
export function duration(minMs: number, maxMs: number) {
  const words = 'a duration such as 300s, 5m, 1h or 2d, or a number of milliseconds';
  return z
    .union([z.int(), z.string().regex(/^\d{1,12}(ms|s|m|h|d)?$/)], { error: `is not ${words}` })
    .transform((value, context): number => {
      const match = /^(\d+)([a-z]*)$/.exec(String(value));
      const ms = match === null ? Number(value) : Number(match[1]) * UNIT_MS[match[2] || 'ms']!;
      if (ms >= minMs && ms <= maxMs) return ms;
      context.addIssue({ code: 'custom', message: `is outside ${minMs} ms to ${maxMs} ms` });
      return z.NEVER;
    });
}
