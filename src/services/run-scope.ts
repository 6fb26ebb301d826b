// What a run compares of its book: the accounts in scope, the keys it joins on, and whether it is there in time.
import type { BookPair, BookSide } from '../core/book.ts';
import { inferJoin } from '../core/book.ts';
import { ENTRY_KINDS, type EntryKind } from '../core/entry.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive } from '../core/run.ts';
import type { LedgerKeyForm } from '../store/ledger-side.ts';
import type { StoredRun } from '../store/runs.ts';
import { reason } from './run-reasons.ts';

/** Keys looked at to see what a book joins on. */
export const SAMPLE_KEYS = 100;

export interface BookFrame {
  readonly pairs: readonly BookPair[];
  readonly accounts: readonly string[];
  readonly completeThrough: Date | null;
}

/** The book's own pairs, or those of the policy's accounts. */
export async function frameBook(
  book: BookSide,
  policy: Policy,
  inconclusive: Inconclusive[],
  signal: AbortSignal,
): Promise<BookFrame> {
  const pairs = await book.pairs(signal);
  const completeThrough = await book.completeThrough(signal);
  const accounts = policy.scope.accounts ?? [...new Set(pairs.map((pair) => pair.account))];
  if (accounts.length === 0 && completeThrough !== null) {
    inconclusive.push(
      reason(
        'SCOPE_EMPTY',
        'book',
        `${book.describe()} has no rows, and the policy names no accounts`,
        'load the book, or name accounts in the policy',
      ),
    );
  }
  return { pairs, accounts, completeThrough };
}

/** A late or never loaded book, as seen from the cut. */
export function addBookReasons(
  book: BookFrame,
  describe: string,
  policy: Policy,
  cutClosedMs: number,
  inconclusive: Inconclusive[],
): void {
  const fix = 'load it with `trueup import book` or RecordEntries, and state complete_through';
  if (book.completeThrough === null) {
    inconclusive.push(reason('BOOK_STALE', 'book', `${describe} never said up to when it is complete`, fix));
  } else if (cutClosedMs - book.completeThrough.getTime() > policy.bookMaxLatenessMs) {
    const late = Math.round((cutClosedMs - book.completeThrough.getTime()) / 1000);
    inconclusive.push(
      reason(
        'BOOK_STALE',
        'book',
        `${describe} is complete through ${book.completeThrough.toISOString()}, ${late} s before the cut`,
        fix,
      ),
    );
  }
}

export interface ResolvedJoin {
  readonly join: 'operation' | 'tx_hash' | 'sub_account';
  readonly form: LedgerKeyForm;
}

/** Which keys are compared; null (with the reason added) where the book's keys don't say. */
export async function resolveJoin(
  book: BookSide,
  policy: Policy,
  inconclusive: Inconclusive[],
  signal: AbortSignal,
): Promise<ResolvedJoin | null> {
  if (policy.join === 'sub_account') return { join: 'sub_account', form: 'sub_account' };
  if (policy.join === 'tx_hash') return { join: 'tx_hash', form: 'hash' };
  const keys = await book.sampleKeys(SAMPLE_KEYS, signal);
  if (keys.length === 0) return { join: 'tx_hash', form: 'hash' };
  const inferred = inferJoin(keys);
  if (policy.join === 'operation') return { join: 'operation', form: inferred.form === 'toid' ? 'toid' : 'hash:op' };
  if (inferred.join !== null && inferred.form !== null) return { join: inferred.join, form: inferred.form };
  inconclusive.push(
    reason(
      'KEYS_DISJOINT',
      'book',
      `the join can't be told from the book's keys: ${inferred.reason}`,
      'see `trueup doctor book`',
    ),
  );
  return null;
}

/** Kinds that take part in matching: fees are totalled apart, and genesis is no movement that a business made. */
export function kindsOf(policy: Policy): readonly EntryKind[] {
  return (
    policy.scope.kinds ?? ENTRY_KINDS.filter((kind) => kind !== 'fee' && kind !== 'fee_refund' && kind !== 'genesis')
  );
}

/** The policy as the caller narrowed it for this run, never widened; null where it is no longer configured. */
export function narrow(policy: Policy | undefined, run: Pick<StoredRun, 'request'>): Policy | null {
  if (policy === undefined) return null;
  const { windowMs, scope } = run.request;
  const { accounts, assets } = policy.scope;
  return {
    ...policy,
    windowHours: windowMs === null ? policy.windowHours : windowMs / 3_600_000,
    scope: {
      ...policy.scope,
      ...(scope?.accounts && { accounts: scope.accounts.filter((id) => !accounts || accounts.includes(id)) }),
      ...(scope?.assets && { assets: scope.assets.filter((asset) => !assets || assets.includes(asset)) }),
      ...(scope?.kinds && { kinds: kindsOf(policy).filter((kind) => scope.kinds!.includes(kind)) }),
    },
  };
}
