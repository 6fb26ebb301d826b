// Coverage as lists: of many accounts at once, and page by page for people.
import type { EntityManager } from '@mikro-orm/postgresql';
import { unite } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';

/** Islands that are read at once; a history with more holes is asked for in parts. */
const MAX_ISLANDS = 10_000;

/**
 * What is done for each account: an account is covered by every watch set that names it and by those of everything. Accounts
 * with the same watch sets share one list.
 */
export async function coverageByAccount(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  accounts: readonly string[],
): Promise<Map<string, readonly LedgerRange[]>> {
  const wanted = [...new Set(accounts)];
  const rows = await sql<{ id: number; everything: boolean; members: string[] }>(
    em,
    `select id, everything, array(select member from unnest(members) as member where member = any($2::text[])) as members
     from trueup.watch_sets where stream_id = $1 order by id`,
    [streamId, wanted],
  );
  const done = await doneByWatchSet(em, streamId, layer);
  const everything = rows.filter((row) => row.everything).map((row) => row.id);
  const setsOf = new Map<string, number[]>(wanted.map((account) => [account, [...everything]]));
  for (const row of rows) {
    if (!row.everything) for (const member of row.members) setsOf.get(member)?.push(row.id);
  }
  const shared = new Map<string, readonly LedgerRange[]>();
  const covered = new Map<string, readonly LedgerRange[]>();
  for (const [account, ids] of setsOf) {
    const key = ids.join();
    const ranges = shared.get(key) ?? unite(ids.flatMap((id) => done.get(id) ?? []));
    shared.set(key, ranges);
    covered.set(account, ranges);
  }
  return covered;
}

async function doneByWatchSet(em: EntityManager, streamId: number, layer: Layer): Promise<Map<number, LedgerRange[]>> {
  const rows = await sql<{ watch_set_id: number; from_ledger: number; to_ledger: number }>(
    em,
    `select watch_set_id, from_ledger, to_ledger from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and state = 'done' order by watch_set_id, from_ledger limit ${MAX_ISLANDS + 1}`,
    [streamId, LAYER_CODES[layer]],
  );
  if (rows.length > MAX_ISLANDS) {
    throw new TrueUpError('TOO_MANY_ROWS', `coverage has more than ${MAX_ISLANDS} separate ranges; fill its gaps with trueup backfill`);
  }
  const done = new Map<number, LedgerRange[]>();
  for (const row of rows) {
    const range = { from: row.from_ledger, to: row.to_ledger };
    const known = done.get(row.watch_set_id);
    if (known) known.push(range);
    else done.set(row.watch_set_id, [range]);
  }
  return done;
}
