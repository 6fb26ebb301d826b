// Listing what of a stream is covered, and what isn't though it should be.
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract } from '../core/coverage.ts';
import { formatDigest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import type { CoverageFilter, CoverageRange, CoverageState, Failure, Gap } from '../core/status.ts';
import {
  factsOfRanges,
  listChunks,
  watchSetsOf,
  watchSetsOfEverything,
  type ChunkRow,
  type RangeFacts,
} from '../store/coverage-lists.ts';
import { coverageOf } from '../store/coverage-read.ts';
import type { Database } from '../store/database.ts';
import { LAYER_CODES } from '../store/entries.ts';
import { LIST_STATEMENT_TIMEOUT_MS, withinListLimit } from '../store/query-limit.ts';
import { followedCoverage, followerWatch, type ScopeCoverage } from '../store/status.ts';
import type { Stream } from '../store/streams.ts';
import { ALL_WATCHED, gapPage, type GapFilter, isAllWatched, requireRange } from './gaps.ts';
import { keptFailure } from './kept-failure.ts';
import { chooseStream, provenanceOf } from './stream-choice.ts';

export interface CoverageListsOptions {
  readonly db: Database;
  /** Of the source that is configured; null: the newest stream is meant where none is named. */
  readonly networkPassphrase: string | null;
  /** The layers that should be covered: those that policies read. */
  readonly layers: readonly Layer[];
  /** Inclusive; null: no end. */
  readonly endLedger: number | null;
  readonly statementTimeoutMs?: number;
}

export type { GapFilter };

export interface CoverageLists {
  /** In order of ledgers, then layers. Errors: STREAM_NOT_FOUND, INVALID_LEDGER_RANGE, INVALID_PAGE_TOKEN, DEADLINE_EXCEEDED. */
  listCoverage(filter: CoverageFilter, page: PageRequest): Promise<Page<CoverageRange>>;
  /** From the stream's first ledger to its tip, or inside the range asked for. The count is of all pages and layers. */
  listGaps(filter: GapFilter, page: PageRequest): Promise<Page<Gap> & { readonly missingLedgers: number }>;
}

const FIX = 'narrow it to a range of ledgers';

export function createCoverageLists(options: CoverageListsOptions): CoverageLists {
  const limitMs = options.statementTimeoutMs ?? LIST_STATEMENT_TIMEOUT_MS;
  return {
    async listCoverage(filter, page) {
      requireRange(filter.range);
      return withinListLimit(
        options.db.em(),
        FIX,
        async (em) => {
          const stream = await chooseStream(em, filter.stream, options.networkPassphrase);
          const layers = filter.layer === undefined ? (Object.keys(LAYER_CODES) as Layer[]) : [filter.layer];
          const scope = await scopeOf(em, stream, filter.watch);
          if (scope === null) return { items: [], next: null };
          return filter.chunks === true
            ? chunkPage(em, stream, scope, layers, filter, page)
            : rangePage(em, stream, scope, layers, filter, page);
        },
        limitMs,
      );
    },
    async listGaps(filter, page) {
      requireRange(filter.range);
      return withinListLimit(
        options.db.em(),
        FIX,
        async (em) => {
          const stream = await chooseStream(em, filter.stream, options.networkPassphrase);
          const layers = filter.layer === undefined ? options.layers : [filter.layer];
          return gapPage(em, stream, layers, filter, options.endLedger, page);
        },
        limitMs,
      );
    },
  };
}

interface Scope {
  readonly watch: string;
  /** The one whose counts are shown comes first. */
  readonly watchSetIds: readonly number[];
  coverage(layer: Layer): Promise<ScopeCoverage>;
}

/** Null before the stream has a follower. */
async function scopeOf(em: EntityManager, stream: Stream, watch: string | undefined): Promise<Scope | null> {
  if (isAllWatched(watch)) {
    const facts = await followerWatch(em, stream.id);
    if (facts === null) return null;
    const others = await watchSetsOfEverything(em, stream.id);
    return {
      watch: ALL_WATCHED,
      watchSetIds: [facts.watchSetId, ...others.filter((id) => id !== facts.watchSetId)],
      coverage: (layer) => followedCoverage(em, stream.id, layer, facts),
    };
  }
  return {
    watch,
    watchSetIds: await watchSetsOf(em, stream.id, watch),
    async coverage(layer) {
      const known = await coverageOf(em, stream.id, layer, [watch]);
      const rest = (ranges: readonly LedgerRange[]) => ranges.flatMap((range) => subtract(range, known.done));
      return { done: known.done, quarantined: rest(known.quarantined), unavailable: rest(known.unavailable) };
    },
  };
}

interface StatedRange {
  readonly layer: Layer;
  readonly range: LedgerRange;
  readonly state: CoverageState;
}

async function rangePage(
  em: EntityManager,
  stream: Stream,
  scope: Scope,
  layers: readonly Layer[],
  filter: CoverageFilter,
  page: PageRequest,
): Promise<Page<CoverageRange>> {
  const ranges: StatedRange[] = [];
  for (const layer of layers) {
    const coverage = await scope.coverage(layer);
    for (const state of ['done', 'quarantined', 'unavailable'] as const) {
      if (!wants(filter, state)) continue;
      for (const range of coverage[state]) if (touches(range, filter.range)) ranges.push({ layer, range, state });
    }
  }
  const { items, next } = slice(ranges, page, (each) => each.range.from);
  const facts = new Map<StatedRange, RangeFacts | null>();
  for (const layer of layers) {
    const shown = items.filter((item) => item.layer === layer);
    const found = await factsOfRanges(em, stream.id, layer, scope.watchSetIds, shown);
    shown.forEach((item, i) => facts.set(item, found[i] ?? null));
  }
  return { items: items.map((item) => toCoverageRange(stream, scope.watch, item, facts.get(item) ?? null)), next };
}

function toCoverageRange(
  stream: Stream,
  watch: string,
  { layer, range, state }: StatedRange,
  facts: RangeFacts | null,
): CoverageRange {
  return {
    stream: stream.name,
    layer,
    watch,
    range,
    state,
    proof: state === 'done' ? (facts?.proof ?? null) : null,
    entryCount: facts?.entryCount ?? 0n,
    transactionCount: state === 'done' ? (facts?.txCount ?? null) : null,
    firstPrevHash: facts?.firstPrevHash ?? null,
    lastHash: facts?.lastHash ?? null,
    digest: null,
    source: facts === null || facts.source === null ? null : provenanceOf(facts.source, facts.updatedAt),
    failure:
      state === 'done'
        ? null
        : unreadableFailure(range, state, facts?.reason ?? null, facts?.detail ?? null, facts?.updatedAt ?? null),
    updatedAt: facts?.updatedAt ?? stream.createdAt,
  };
}

async function chunkPage(
  em: EntityManager,
  stream: Stream,
  scope: Scope,
  layers: readonly Layer[],
  filter: CoverageFilter,
  page: PageRequest,
): Promise<Page<CoverageRange>> {
  const after = page.after === null ? null : readChunkPosition(page.after);
  const chunkFilter = {
    layers,
    watchSetIds: scope.watchSetIds,
    states: filter.states !== undefined && filter.states.length > 0 ? filter.states : null,
    range: filter.range ?? null,
  };
  const rows = await listChunks(em, stream.id, chunkFilter, after, page.size + 1);
  return pageOf(
    rows,
    page.size,
    (row) => ({ f: row.range.from, l: row.layer, w: row.watchSetId }),
    (row) => chunkToRange(stream, scope.watch, row),
  );
}

function chunkToRange(stream: Stream, watch: string, chunk: ChunkRow): CoverageRange {
  const done = chunk.state === 'done';
  return {
    stream: stream.name,
    layer: chunk.layer,
    watch,
    range: chunk.range,
    state: chunk.state,
    proof: done ? chunk.proof : null,
    entryCount: chunk.entryCount,
    transactionCount: done ? chunk.txCount : null,
    firstPrevHash: chunk.firstPrevHash,
    lastHash: chunk.lastHash,
    digest: chunk.digest === null ? null : formatDigest(chunk.digest),
    source: provenanceOf(chunk.source, chunk.updatedAt),
    failure: done ? null : unreadableFailure(chunk.range, chunk.state, chunk.reason, chunk.detail, chunk.updatedAt),
    updatedAt: chunk.updatedAt,
  };
}

/** Names the ledgers, inclusive as people read them, and the command that tries them again. */
export function unreadableFailure(
  range: LedgerRange,
  state: CoverageState,
  reason: string | null,
  detail: string | null,
  at: Date | null,
): Failure {
  const [from, last] = [range.from, range.to - 1];
  const ledgers = from === last ? `ledger ${from} is` : `ledgers ${from}-${last} are`;
  const word = state === 'quarantined' ? 'set apart as undecodable' : 'kept by no configured source';
  const failure = keptFailure(
    state === 'quarantined' ? 'LEDGER_QUARANTINED' : 'LEDGER_UNAVAILABLE',
    `${ledgers} ${word}`,
    at,
  );
  const why = [reason, detail].filter((each) => each !== null && each !== '').join(': ');
  return {
    ...failure,
    message: why === '' ? failure.message : `${failure.message} (${why})`,
    fix: `read them from another source: trueup backfill start --from ${from} --to ${last}`,
  };
}

/** The page of a list that is whole in memory, in order of ledgers, then layers. */
function slice<T extends { readonly layer: Layer }>(
  all: readonly T[],
  page: PageRequest,
  fromOf: (item: T) => number,
): Page<T> {
  const order = (layer: Layer, from: number) => from * 2 + LAYER_CODES[layer];
  const sorted = [...all].sort((a, b) => order(a.layer, fromOf(a)) - order(b.layer, fromOf(b)));
  const after = page.after === null ? -1 : readPosition(page.after);
  const rest = sorted.filter((item) => order(item.layer, fromOf(item)) > after);
  return pageOf(rest.slice(0, page.size + 1), page.size, (item) => ({ p: order(item.layer, fromOf(item)) }));
}

function readPosition(position: PagePosition): number {
  const at = position['p'];
  if (typeof at === 'number' && Number.isSafeInteger(at)) return at;
  throw badPosition();
}

function readChunkPosition(position: PagePosition): { ledger: number; layer: Layer; watchSetId: number } {
  const { f: ledger, l: layer, w: watchSetId } = position;
  if (
    !Number.isSafeInteger(ledger) ||
    !Number.isSafeInteger(watchSetId) ||
    typeof layer !== 'string' ||
    !(layer in LAYER_CODES)
  )
    throw badPosition();
  return { ledger: ledger as number, layer: layer as Layer, watchSetId: watchSetId as number };
}

function badPosition(): TrueUpError {
  return new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}

function wants(filter: CoverageFilter, state: CoverageState): boolean {
  return filter.states === undefined || filter.states.length === 0 || filter.states.includes(state);
}

function touches(range: LedgerRange, wanted: LedgerRange | undefined): boolean {
  return wanted === undefined || (range.from < wanted.to && range.to > wanted.from);
}
