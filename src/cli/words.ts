// Values as people read them: ages, times, accounts, amounts, enum names without their prefix.
import { type Duration, type Timestamp, timestampDate, timestampMs } from '@bufbuild/protobuf/wkt';

export const UNKNOWN = 'unknown';
export const NOTHING = '–';

/** 2026-11-22T14:03:07Z; `–` where there is none. */
export function timeWords(time: Timestamp | undefined): string {
  return time === undefined
    ? NOTHING
    : timestampDate(time)
        .toISOString()
        .replace(/\.\d+Z$/, 'Z');
}

/** How long ago: `3s`, `12m 04s`, `5h 20m`, `3d 4h`. */
export function agoWords(time: Timestamp | undefined, nowMs: number): string {
  return time === undefined ? UNKNOWN : durationWords(nowMs - timestampMs(time));
}

export function durationWords(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${two(Math.floor((seconds % 3600) / 60))}m`;
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3600)}h`;
}

export function protoDurationMs(duration: Duration | undefined): number | null {
  return duration === undefined ? null : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}

/** 1234567 as 1,234,567, whatever its type. */
export function countWords(value: number | bigint | undefined): string {
  return value === undefined ? UNKNOWN : value.toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

/** 1 ledger, 2 ledgers. */
export function ledgerWords(value: number | bigint): string {
  return `${countWords(value)} ${String(value) === '1' ? 'ledger' : 'ledgers'}`;
}

/** Long ids in the middle cut away on a terminal, whole elsewhere, since a program may read them. */
export function shortener(isTerminal: boolean): (id: string) => string {
  return (id) => {
    if (!isTerminal) return id;
    return id.replace(/[A-Z0-9]{56,}|[0-9a-f]{64}/g, (long) => `${long.slice(0, 4)}…${long.slice(-4)}`);
  };
}

/** The amount in whole units, else in minor ones, which then say so. */
export function amountWords(side: { readonly amount?: string | undefined; readonly amountMinor: string }): string {
  if (side.amount !== undefined) return side.amount;
  return side.amountMinor === '' ? UNKNOWN : `${side.amountMinor} minor`;
}
