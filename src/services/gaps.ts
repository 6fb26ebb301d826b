// A page of what should be covered and isn't, without reading the rest of the history.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Page, PagePosition, PageRequest } from '../core/page.ts';
import type { CoverageFilter, Gap } from '../core/status.ts';
import { countMissing, gapsFrom, scopeOfAccounts, scopeOfFollowed, type GapQuery } from '../store/coverage-gaps.ts';
import { LAYER_CODES } from '../store/entries.ts';
import { followerWatch, type FollowerReach } from '../store/status.ts';
import type { Stream } from '../store/streams.ts';

export type GapFilter = Pick<CoverageFilter, 'stream' | 'layer' | 'watch' | 'range'>;

export type GapPage = Page<Gap> & { readonly missingLedgers: number };

/** What the follower's whole watch is called in lists. */
export const ALL_WATCHED = '*';

export function isAllWatched(watch: string | undefined): watch is undefined | '' | typeof ALL_WATCHED {
  return watch === undefined || watch === '' || watch === ALL_WATCHED;
}

/** In order of ledgers, then layers. The missing ledgers of all pages are counted with the first, and travel with its token. */
export async function gapPage(
  em: EntityManager,
  stream: Stream,
  layers: readonly Layer[],
  filter: GapFilter,
  endLedger: number | null,
  page: PageRequest,
): Promise<GapPage> {
  const queries = await queriesOf(em, stream, layers, filter, endLedger);
  const starts = page.after === null ? new Map<Layer, number>() : readStarts(page.after);
  const found: Gap[] = [];
  let missingLedgers = page.after === null ? 0 : readMissing(page.after);
  for (const query of queries) {
    const start = starts.get(query.layer) ?? query.wanted.from;
    // One more than the page, to know whether there is another.
    for (const { available, ...range } of await gapsFrom(em, query, start, page.size + 1)) {
      found.push({ stream: stream.name, layer: query.layer, watch: filter.watch || ALL_WATCHED, range, available });
    }
    if (page.after === null) missingLedgers += await countMissing(em, query, filter.range === undefined);
  }
  found.sort((a, b) => a.range.from - b.range.from || LAYER_CODES[a.layer] - LAYER_CODES[b.layer]);
  const items = found.slice(0, page.size);
  for (const gap of items) starts.set(gap.layer, gap.range.to);
  const next = found.length > page.size ? { ...Object.fromEntries(starts), missing: missingLedgers } : null;
  return { items, next, missingLedgers };
}

/** What is asked of each layer: from the stream's first ledger to its tip, or the range asked for as far as there are ledgers. */
async function queriesOf(
  em: EntityManager,
  stream: Stream,
  layers: readonly Layer[],
  filter: GapFilter,
  endLedger: number | null,
): Promise<GapQuery[]> {
  const watch = await followerWatch(em, stream.id);
  if (watch === null) return [];
  const wanted = wantedOf(watch.reach, filter.range, endLedger);
  if (wanted.from >= wanted.to) return [];
  const scope = isAllWatched(filter.watch)
    ? await scopeOfFollowed(em, stream.id, watch)
    : await scopeOfAccounts(em, stream.id, [filter.watch]);
  return layers.map((layer) => ({ streamId: stream.id, layer, scope, wanted, oldest: watch.reach.oldestLedger }));
}

export function wantedOf(
  follower: Omit<FollowerReach, 'oldestLedger'>,
  range: LedgerRange | undefined,
  endLedger: number | null,
): LedgerRange {
  // Before the source has told its tip, what was read is all that is known to exist.
  const tip = Math.max(follower.tipLedger ?? 0, follower.nextLedger - 1);
  if (range !== undefined) return { from: range.from, to: Math.min(range.to, tip + 1) };
  return { from: follower.startLedger, to: (endLedger === null ? tip : Math.min(tip, endLedger)) + 1 };
}

/** @throws TrueUpError INVALID_LEDGER_RANGE */
export function requireRange(range: LedgerRange | undefined): void {
  if (range === undefined || range.from < range.to) return;
  throw new TrueUpError(
    'INVALID_LEDGER_RANGE',
    `ledgers ${range.from}-${range.to - 1} are no range: the first is above the last`,
  );
}

/** Where each layer goes on; one that isn't named has not been shown yet. */
function readStarts(position: PagePosition): Map<Layer, number> {
  const starts = new Map<Layer, number>();
  for (const layer of Object.keys(LAYER_CODES) as Layer[]) {
    if (position[layer] !== undefined) starts.set(layer, readNumber(position[layer]));
  }
  return starts;
}

function readMissing(position: PagePosition): number {
  return readNumber(position['missing']);
}

function readNumber(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}
