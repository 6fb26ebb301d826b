// Days on which two immutable sides are the same, in a run between them: what it needn't look at, and what the next one needn't.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { agreedDays, skipDays, type AgreedDay } from '../core/day-seal.ts';
import type { Policy } from '../core/policy.ts';
import type { RowQuery } from '../core/row-side.ts';
import type { Skipped } from '../core/seal.ts';
import type { Database } from '../store/database.ts';
import { readDays, sealDays } from '../store/day-seals.ts';
import type { DigestedSide } from '../sources/side-digest.ts';
import { drawMark, drawSeeds } from './run-digest.ts';
import type { DigestedSides } from './run-side-digests.ts';

export interface RunDays {
  readonly skipped: Skipped;
  /** Found by this run. */
  readonly agreed: readonly AgreedDay[];
  readonly fingerprint: string;
}

/** Null: a side may change what was read of it, or its rows tell no time. */
export async function readRunDays(
  db: Database,
  policy: Policy,
  sides: DigestedSides,
  cutAtMs: number,
): Promise<RunDays | null> {
  if (![policy.ledger, policy.book].every((side) => side.kind === 'external' && side.immutable)) return null;
  const fingerprint = fingerprintOf(policy, sides);
  const sealed = await readDays(db.em(), policy.name, fingerprint);
  const digests = await digestsOfDays(sides, { except: skipDays(sealed).times });
  if (digests === null) return null;
  const agreed = agreedDays(digests.ledger, digests.book, policy, cutAtMs);
  const known = new Map([...sealed, ...agreed].map((each) => [each.day, each]));
  return { skipped: skipDays([...known.values()]), agreed, fingerprint };
}

/** In the transaction that concludes the run. */
export function keepDays(em: EntityManager, policy: Policy, { agreed, fingerprint }: RunDays): Promise<void> {
  return sealDays(em, policy.name, fingerprint, agreed);
}

/** Digests of both sides under seeds of their own; null: the rows of one tell no time. */
export async function digestsOfDays({ ledger, book, columns }: DigestedSides, times: Omit<RowQuery, 'keys'>) {
  const seeds = drawSeeds();
  const of = (side: DigestedSide) => side.digests(seeds, drawMark(), columns, times);
  const [ofLedger, ofBook] = [of(ledger), of(book)];
  if (ofLedger.days === undefined || ofBook.days === undefined) return null;
  const [left, right] = await Promise.all([ofLedger.days(), ofBook.days()]);
  return { ledger: left, book: right };
}

/** All on which agreement depends beside the rows. */
function fingerprintOf(policy: Policy, { ledger, book, columns }: DigestedSides): string {
  const { schedule: _, alert: __, ...rules } = policy;
  return createHash('sha256')
    .update(JSON.stringify([rules, ledger.identity, book.identity, columns]))
    .digest('hex');
}
