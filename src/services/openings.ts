// Opening balances: what the network itself states of an account whose history before our first ledger we never read.
import type { Book, BookPair } from '../core/book.ts';
import { isTrueUpError } from '../core/errors.ts';
import type { Policy } from '../core/policy.ts';
import type { Watch } from '../core/watch.ts';
import type { Source } from '../sources/source.ts';
import type { Database } from '../store/database.ts';
import { accountsWithoutOpening, insertOpenings } from '../store/openings.ts';
import { currentStream, ensureSource, readFollower } from '../store/streams.ts';

/** Accounts asked for by one pass; the next pass takes the next ones. */
const MAX_ACCOUNTS_PER_PASS = 500;

export interface OpeningsDeps {
  readonly db: Database;
  readonly source: Source;
  readonly watch: Watch;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
}

/**
 * Takes an opening for each watched or booked account that has none, where history doesn't begin at ledger 1 and the source
 * can be asked. A pair of the book that the network doesn't know is an opening of zero.
 *
 * @returns how many balances were stored
 */
export async function takeOpenings(deps: OpeningsDeps, signal: AbortSignal): Promise<number> {
  const { db, source, watch } = deps;
  if (!source.openingBalances) return 0;
  const stream = await currentStream(db.em(), source.networkPassphrase);
  const follower = stream && (await readFollower(db.em(), stream.id));
  // From ledger 1 on everything is derived from the genesis leg.
  if (!stream || !follower || follower.startLedger <= 1) return 0;
  const pairs = await bookPairs(deps, signal);
  const accounts = [...new Set([...watch.accounts, ...pairs.map((pair) => pair.account)])].filter((id) =>
    id.startsWith('G'),
  );
  const wanted = await accountsWithoutOpening(db.em(), stream.id, accounts, MAX_ACCOUNTS_PER_PASS);
  if (wanted.length === 0) return 0;
  const stated = await source.openingBalances(wanted, signal);
  const ledger = stated.reduce((newest, each) => Math.max(newest, each.ledger), 0);
  const known = new Set(stated.map((each) => `${each.account} ${each.asset}`));
  const asked = new Set(wanted);
  const zeros = pairs
    .filter((pair) => ledger > 0 && asked.has(pair.account) && !known.has(`${pair.account} ${pair.asset}`))
    .map((pair) => ({ ...pair, amount: 0n, ledger }));
  const openings = [...stated, ...zeros];
  await db.em().transactional(async (em) => insertOpenings(em, stream.id, await ensureSource(em, source.id), openings));
  return openings.length;
}

/** Pairs of the books that balance policies compare; a book that can't be read now is asked again at the next tick. */
async function bookPairs({ policies, bookOf }: OpeningsDeps, signal: AbortSignal): Promise<BookPair[]> {
  const pairs: BookPair[] = [];
  for (const policy of policies.values()) {
    if (policy.level !== 'balances') continue;
    try {
      await using book = await bookOf(policy).open('balances', signal);
      pairs.push(...(await book.pairs(signal)));
    } catch (error) {
      if (!isTrueUpError(error)) throw error;
    }
  }
  return pairs;
}
