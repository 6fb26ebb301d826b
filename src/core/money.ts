// Money is an integer count of minor units. Decimal strings exist only at the edges.
import { TrueUpError } from './errors.ts';

/** Stellar's classic assets and native XLM count in 10^-7. */
export const STELLAR_CLASSIC_SCALE = 7;

const I128_MAX = (1n << 127n) - 1n;
const I128_MIN = -(1n << 127n);
const MAX_SCALE_DIGITS = 38;

/**
 * Exact minor units of a decimal string: "12.5" at scale 7 is 125000000n, and "100" equals "100.0". No exponent,
 * no thousands separators, no rounding: a digit below the scale is refused.
 *
 * @throws TrueUpError INVALID_REQUEST where the text is no such number or leaves i128.
 */
export function parseAmount(text: string, scale: number): bigint {
  if (scale < 0 || scale > MAX_SCALE_DIGITS) throw bad(text, `scale ${scale} is outside 0..${MAX_SCALE_DIGITS}`);
  const match = /^([+-]?)(\d{1,40})(?:\.(\d{1,40}))?$/.exec(text.trim());
  if (!match) throw bad(text, 'is not a decimal number such as "12.5"');
  const fraction = (match[3] ?? '').replace(/0+$/, '');
  if (fraction.length > scale) throw bad(text, `has more than ${scale} decimals`);
  const magnitude = BigInt(match[2]! + fraction.padEnd(scale, '0'));
  return checkI128(match[1] === '-' ? -magnitude : magnitude, text);
}

/** @throws TrueUpError INVALID_REQUEST where the text is no integer or leaves i128. */
export function parseMinor(text: string): bigint {
  if (!/^[+-]?\d{1,40}$/.test(text.trim())) throw bad(text, 'is not an integer of minor units');
  return checkI128(BigInt(text.trim().replace(/^\+/, '')), text);
}

/** The decimal string of minor units, all decimals shown: 125000000n at scale 7 is "12.5000000". */
export function formatAmount(minor: bigint, scale: number): string {
  if (scale === 0) return minor.toString();
  const digits = (minor < 0n ? -minor : minor).toString().padStart(scale + 1, '0');
  return `${minor < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

export function absolute(minor: bigint): bigint {
  return minor < 0n ? -minor : minor;
}

function checkI128(value: bigint, text: string): bigint {
  if (value > I128_MAX || value < I128_MIN) throw bad(text, 'is outside the 128-bit range');
  return value;
}

function bad(text: string, why: string): TrueUpError {
  return new TrueUpError('INVALID_REQUEST', `amount ${JSON.stringify(text.slice(0, 60))} ${why}`);
}
