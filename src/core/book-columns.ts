// From named columns to a book row: one rule for files, calls and the user's own database.
import { assetScale, normalizeAsset } from './asset.ts';
import { parseBookTime, parseCount, parseFlag, parseMoney, parseText } from './book-fields.ts';
import type { BookProblem, BookProblemCode } from './book-fields.ts';
import type { BookBalance, BookLevel, BookRowInput } from './book.ts';
import { isTrueUpError, TrueUpError } from './errors.ts';
import { splitMuxedAddress } from './muxed.ts';
import { isStrkey } from './strkey.ts';

export const BOOK_LIMITS = {
  maxRowIdBytes: 256,
  maxKeyBytes: 256,
  maxAccountBytes: 256,
  maxAssetBytes: 128,
  maxKindBytes: 64,
  maxStatusBytes: 64,
  maxCounterpartyBytes: 256,
  maxSubAccountBytes: 256,
} as const;

const ENTRY_COLUMNS = [
  ...['row_id', 'key', 'account', 'sub_account', 'asset', 'amount', 'amount_minor', 'kind', 'counterparty'],
  ...['status', 'occurred_at', 'ledger', 'retracted'],
];
const BALANCE_COLUMNS = ['account', 'asset', 'balance', 'balance_minor', 'as_of_ledger'];
/** Pools and claimable balances; accounts and contracts are checked by their checksum. */
const OTHER_HOLDER = /^L[A-Z2-7]{55}$|^B[A-Z2-7]{57}$/;
/** Accounts already found right: a book has few of them beside its rows. */
const KNOWN_ACCOUNTS = new Set<string>();
const MAX_KNOWN_ACCOUNTS = 20_000;
const HASH_KEY = /^[0-9A-Fa-f]{64}(:\d+)?$/;

type Columns = Readonly<Record<string, unknown>>;
/** Decimals of an asset's minor unit; undefined where they aren't known. */
export type ScaleOf = (asset: string) => number | undefined;

/**
 * A movement from named columns: account, asset, `amount` (decimal string) or `amount_minor`, and key, row_id,
 * sub_account, kind, counterparty, status, occurred_at (ISO 8601 with a zone), ledger, retracted. An amount is signed from
 * the account's point of view: above 0 the account received, below 0 it paid. Empty and absent are the same.
 *
 * @throws TrueUpError INVALID_REQUEST; its details name every bad column with what is wrong.
 */
export function parseBookRow(record: Columns, scaleOf: ScaleOf = assetScale): BookRowInput {
  const problems: BookProblem[] = [];
  const text = (column: string, maxBytes: number) => parseText(record[column], column, maxBytes, problems);
  const { account, subAccount } = parseAccount(record, problems);
  const asset = parseAsset(record, problems);
  const key = normalizeKey(text('key', BOOK_LIMITS.maxKeyBytes));
  if (key === '' && subAccount === '' && problems.length === 0) {
    problems.push(
      problem('key', 'VALUE_MISSING', 'is missing; a row without a key needs a sub_account to be found by'),
    );
  }
  const retracted = parseFlag(record['retracted'], 'retracted', problems);
  const amount = parseMoney(record, 'amount', scaleOf(asset), !retracted, problems);
  const row: BookRowInput = {
    rowId: text('row_id', BOOK_LIMITS.maxRowIdBytes) || null,
    key,
    account,
    asset,
    amount,
    kind: text('kind', BOOK_LIMITS.maxKindBytes).toLowerCase() || null,
    counterparty: normalizeParty(text('counterparty', BOOK_LIMITS.maxCounterpartyBytes)),
    status: text('status', BOOK_LIMITS.maxStatusBytes).toLowerCase() || null,
    subAccount: subAccount || null,
    occurredAt: parseBookTime(record['occurred_at'], 'occurred_at', problems),
    ledger: parseCount(record['ledger'], 'ledger', problems) || null,
    retracted,
  };
  if (problems.length > 0) throw refuse(problems);
  return row;
}

/**
 * A balance from named columns: account, asset, `balance` (decimal string) or `balance_minor`, and as_of_ledger. Balances
 * are those of whole accounts: an M... address or a sub_account is refused.
 *
 * @throws TrueUpError INVALID_REQUEST; its details name every bad column with what is wrong.
 */
export function parseBookBalance(record: Columns, scaleOf: ScaleOf = assetScale): BookBalance {
  const problems: BookProblem[] = [];
  const { account, subAccount } = parseAccount(record, problems);
  if (subAccount !== '') {
    const description =
      'has a sub-account; a ledger keeps balances of whole accounts: sum up the sub-accounts, send G...';
    problems.push(problem('account', 'ACCOUNT_INVALID', description));
  }
  const asset = parseAsset(record, problems);
  const amount = parseMoney(record, 'balance', scaleOf(asset), true, problems);
  const asOfLedger = parseCount(record['as_of_ledger'], 'as_of_ledger', problems);
  if (problems.length > 0) throw refuse(problems);
  return { account, asset, amount: amount!, asOfLedger };
}

/** Whether named columns are those of entries or of balances; null where it is neither or both. */
export function bookLevelOf(columns: readonly string[]): BookLevel | null {
  const entries = ['amount', 'amount_minor', 'key'].some((column) => columns.includes(column));
  const balances = columns.includes('balance') || columns.includes('balance_minor');
  if (entries === balances) return null;
  return entries ? 'entries' : 'balances';
}

/**
 * What is wrong with a set of column names for a level: missing, unknown (with the name that was probably meant) and
 * doubled ones. Unknown columns are refused because a misspelt one would otherwise silently not be compared.
 */
export function checkBookColumns(columns: readonly string[], level: BookLevel): BookProblem[] {
  const known = level === 'entries' ? ENTRY_COLUMNS : BALANCE_COLUMNS;
  const money = level === 'entries' ? 'amount' : 'balance';
  const problems: BookProblem[] = [];
  const seen = new Set<string>();
  for (const column of columns) {
    if (seen.has(column)) problems.push(problem(column, 'COLUMN_UNKNOWN', 'stands twice'));
    seen.add(column);
    if (known.includes(column)) continue;
    const meant = nearest(
      column,
      known.filter((name) => !columns.includes(name)),
    );
    const advice = meant === null ? `leave it out; known are ${known.join(', ')}` : `did you mean ${meant}?`;
    problems.push(problem(column, 'COLUMN_UNKNOWN', `is no column of ${level}; ${advice}`));
  }
  for (const column of ['account', 'asset']) {
    if (!seen.has(column)) problems.push(problem(column, 'COLUMN_MISSING', 'is missing'));
  }
  if (!seen.has(money) && !seen.has(`${money}_minor`)) {
    problems.push(problem(money, 'COLUMN_MISSING', `is missing; give ${money} or ${money}_minor`));
  }
  if (level === 'entries' && !seen.has('key') && !seen.has('sub_account')) {
    problems.push(problem('key', 'COLUMN_MISSING', 'is missing; it names the movement on the ledger'));
  }
  return problems;
}

/** Hashes are lower case, with or without their operation; every other key is the business's own text. */
export function normalizeKey(key: string): string {
  return HASH_KEY.test(key) ? key.toLowerCase() : key;
}

function parseAccount(record: Columns, problems: BookProblem[]): { account: string; subAccount: string } {
  const before = problems.length;
  const text = parseText(record['account'], 'account', BOOK_LIMITS.maxAccountBytes, problems);
  const subAccount = parseText(record['sub_account'], 'sub_account', BOOK_LIMITS.maxSubAccountBytes, problems);
  if (problems.length > before || isAccount(text)) return { account: text, subAccount };
  const muxed = splitMuxedAddress(text);
  let description: string;
  if (muxed !== null) {
    if (subAccount === '' || subAccount === muxed.muxedId) return { account: muxed.account, subAccount: muxed.muxedId };
    description = `carries the muxed id ${muxed.muxedId}, but sub_account says ${JSON.stringify(subAccount)}`;
  } else if (text === '') {
    description = 'is missing';
  } else if (/^[GMC][A-Z2-7]+$/.test(text)) {
    description = `${quote(text)} is mistyped: its length or checksum is wrong`;
  } else {
    description = `${quote(text)} is none of G..., M..., C... (and B..., L...)`;
  }
  problems.push(problem('account', text === '' ? 'VALUE_MISSING' : 'ACCOUNT_INVALID', description));
  return { account: text, subAccount };
}

function parseAsset(record: Columns, problems: BookProblem[]): string {
  const before = problems.length;
  const text = parseText(record['asset'], 'asset', BOOK_LIMITS.maxAssetBytes, problems);
  if (problems.length > before) return text;
  if (text === '') {
    problems.push(problem('asset', 'VALUE_MISSING', 'is missing; give native, CODE:ISSUER or C...'));
    return text;
  }
  try {
    return normalizeAsset(text);
  } catch {
    problems.push(problem('asset', 'ASSET_INVALID', `${quote(text)} is none of native, CODE:ISSUER, C...`));
    return text;
  }
}

function normalizeParty(text: string): string | null {
  if (text === '') return null;
  return splitMuxedAddress(text)?.account ?? text;
}

function isAccount(text: string): boolean {
  if (KNOWN_ACCOUNTS.has(text)) return true;
  const right = isStrkey('account', text) || isStrkey('contract', text) || OTHER_HOLDER.test(text);
  if (right && KNOWN_ACCOUNTS.size >= MAX_KNOWN_ACCOUNTS) KNOWN_ACCOUNTS.clear();
  if (right) KNOWN_ACCOUNTS.add(text);
  return right;
}

function problem(field: string, code: BookProblemCode, description: string): BookProblem {
  return { field, code, description };
}

/** The problems that parseBookRow or parseBookBalance threw; any other error is thrown on. */
export function bookProblemsOf(error: unknown): readonly BookProblem[] {
  if (isTrueUpError(error, 'INVALID_REQUEST') && error.details.fields)
    return error.details.fields as readonly BookProblem[];
  throw error;
}

function refuse(problems: readonly BookProblem[]): TrueUpError {
  const message = problems.map(({ field, description }) => `${field}: ${description}`).join('; ');
  return new TrueUpError('INVALID_REQUEST', message, { fields: problems });
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

/** The known name closest to a misspelt one: equal but for separators, or at most two edits away. */
function nearest(name: string, known: readonly string[]): string | null {
  const bare = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const same = known.find((candidate) => bare(candidate) === bare(name));
  if (same !== undefined) return same;
  let best: string | null = null;
  let bestDistance = 3;
  for (const candidate of known) {
    const distance = editDistance(bare(name), bare(candidate));
    if (distance < bestDistance && distance < candidate.length / 2) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
