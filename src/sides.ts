// Composes what policies compare: the books and ledgers that the configuration names.
import { join } from 'node:path';
import type { Config } from './config/config.ts';
import type { Book } from './core/book.ts';
import { TrueUpError } from './core/errors.ts';
import type { Policy } from './core/policy.ts';
import { createRecordedBook } from './services/book-side.ts';
import { createPostgresBook } from './sources/book-postgres.ts';
import { createFileSide } from './sources/side-file.ts';
import type { Database } from './store/database.ts';

export interface Sides {
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
  readonly ledgerOf: (policy: Policy) => Book;
  /** Where rows are put in order that are too many to hold. */
  readonly spillFolder: string;
}

const SANDBOX_INTERVAL_MS = 15_000;

/** The sides of each policy, opened anew for each run. */
export function composeSides(config: Config, db: Database): Sides {
  const isSandbox = config.source.kind === 'sandbox';
  const policies = new Map(
    config.reconciliation.policies.map((policy) => [policy.name, isSandbox ? shownSoon(policy) : policy]),
  );
  const spillFolder = join(config.service.dataDir, 'spill');
  const postgres =
    config.book !== null && config.secrets.bookUrl !== null
      ? createPostgresBook({ url: config.secrets.bookUrl, query: config.book.query })
      : null;
  const external = new Map(
    Object.keys(config.reconciliation.sides).map((name) => [name, externalSide(config, name, spillFolder)]),
  );
  const sideOf = (policy: Policy, side: Policy['book'] | Policy['ledger']): Book => {
    const found =
      side.kind === 'external'
        ? external.get(side.name)
        : side.kind === 'recorded'
          ? createRecordedBook({ db }, side.name)
          : side.kind === 'postgres'
            ? postgres
            : null;
    if (found) return found;
    throw new TrueUpError('INVALID_CONFIGURATION', `policy ${policy.name} reads a side that is not configured`, {
      fix: 'set TRUEUP_BOOK_URL, or declare the side in trueup.yaml',
    });
  };
  return {
    policies,
    spillFolder,
    bookOf: (policy) => sideOf(policy, policy.book),
    ledgerOf: (policy) => sideOf(policy, policy.ledger),
  };
}

function externalSide(config: Config, name: string, spillFolder: string): Book {
  const side = config.reconciliation.sides[name]!;
  if (side.kind === 'postgres') return createPostgresBook({ url: config.secrets.sideUrls[name]!, query: side.query });
  return createFileSide({ ...side, spillFolder });
}

/** The sandbox shows within a minute what a business sees in hours; its book states balances too. */
function shownSoon(policy: Policy): Policy {
  const intervalMs = Math.min(SANDBOX_INTERVAL_MS, policy.schedule.intervalMs);
  return { ...policy, schedule: { enabled: policy.schedule.enabled || policy.book.kind === 'recorded', intervalMs } };
}
