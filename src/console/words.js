// Values as people read them. What is not known is written as such, never as zero.

export const UNKNOWN = 'unknown';

/** Milliseconds of an RFC 3339 time; null where there is none. */
export function timeMs(text) {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

/** Milliseconds of a duration such as "742.5s"; null where there is none. */
export function durationMs(text) {
  const match = /^(-?\d+(?:\.\d+)?)s$/.exec(text ?? '');
  return match === null ? null : Number(match[1]) * 1000;
}

/** 3s, 12m 04s, 5h 20m, 3d 4h. */
export function span(ms) {
  if (ms === null) return UNKNOWN;
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value) => String(value).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${two(Math.floor((seconds % 3600) / 60))}m`;
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3600)}h`;
}

/** 1234567 as 1,234,567. An absent count of the contract's plain kind means 0; an optional one means unknown. */
export function count(value, absent = '0') {
  const text = value === undefined ? absent : String(value);
  return /^-?\d+$/.test(text) ? text.replace(/\B(?=(\d{3})+$)/g, ',') : text;
}

/** 1 ledger, 2 ledgers. */
export function ledgers(value) {
  return `${count(value)} ${String(value) === '1' ? 'ledger' : 'ledgers'}`;
}

/** The name of an enum's value without its prefix, in lower case: SYNC_STATUS_CATCHING_UP is "catching up". */
export function enumWords(value, prefix) {
  const name = value === undefined ? 'UNSPECIFIED' : String(value).replace(prefix, '');
  return name === 'UNSPECIFIED' ? UNKNOWN : name.toLowerCase().replaceAll('_', ' ');
}

/** Long ids with their middle cut away; the whole one belongs into a title. */
export function short(id) {
  return String(id).replace(/[A-Z0-9]{56,}|[0-9a-f]{64}/g, (long) => `${long.slice(0, 4)}…${long.slice(-4)}`);
}

/** CODE of CODE:ISSUER, XLM for native. */
export function assetName(asset) {
  if (asset === undefined || asset === '') return '';
  return asset === 'native' ? 'XLM' : short(asset.split(':')[0]);
}

/** The amount in whole units, else in minor ones, which then say so. */
export function amount(of) {
  if (of === undefined) return UNKNOWN;
  if (of.amount !== undefined) return grouped(of.amount);
  return of.amountMinor ? `${of.amountMinor} minor` : UNKNOWN;
}

/** Thousands separated before the point; the decimals as they are. */
export function grouped(decimal) {
  const [whole, fraction] = decimal.split('.');
  return count(whole) + (fraction === undefined ? '' : `.${fraction}`);
}

/** Capital first. */
export function sentence(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
