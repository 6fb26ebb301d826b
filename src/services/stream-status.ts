// One stream's status out of its rows: what it is at, how far it is covered, and what keeps it from being well.
import type { EntityManager } from '@mikro-orm/postgresql';
import { rangeLength, subtract } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import { lagLedgers, syncStatus } from '../core/follow.ts';
import { keepSamples, rateOver, type CounterSample } from '../core/rates.ts';
import type { Failure, LayerStatus, Rates, StreamStatus } from '../core/status.ts';
import {
  closeTimeOfLedger,
  countEntries,
  followedCoverage,
  followerWatch,
  knownLayers,
  reachingIsland,
  reasonOfRange,
  timedLedgerIn,
  watchCount,
  type ScopeCoverage,
} from '../store/status.ts';
import { readFollower, type FollowerRow, type Stream } from '../store/streams.ts';
import { unreadableFailure } from './coverage.ts';
import { keptFailure } from './kept-failure.ts';
import { sourcesStatus, statusBeforeStream, type InProcess, type SourceInfo } from './source-status.ts';

/** Ranges set apart that a status names one by one; the others are counted. */
const MAX_RANGES_NAMED = 20;
const SAMPLES_KEPT_MS = 90_000;
const SAMPLES_GAP_MS = 1_000;
/** Counting chunks reads all of them, so it is done once in this time, for each stream and layer. */
const ENTRY_COUNT_MAX_AGE_MS = 5_000;

export interface StreamStatusOptions {
  readonly source: SourceInfo;
  readonly endLedger: number | null;
  readonly staleAfterMs: number;
}

export type StreamStatusReader = (
  em: EntityManager,
  stream: Stream,
  followed: InProcess | null,
  now: Date,
) => Promise<StreamStatus>;

/** A reader that remembers samples between its calls, for the rates. `followed` null: an older stream, which nobody follows. */
export function createStreamStatusReader(options: StreamStatusOptions): StreamStatusReader {
  const samples = new Map<number, CounterSample[]>();
  const counts = new Map<string, { atMs: number; count: bigint }>();

  return async (em, stream, followed, now) => {
    const row = await readFollower(em, stream.id);
    if (row === null)
      return {
        ...statusBeforeStream(
          options.source,
          { sandbox: stream.sandbox, endLedger: options.endLedger },
          followed ?? NOBODY,
          now,
        ),
        ...namesOf(stream),
      };
    const layers: LayerFacts[] = [];
    const watch = await followerWatch(em, stream.id);
    const wanted = new Set<Layer>([
      ...(followed === null ? [] : options.source.layers),
      ...(await knownLayers(em, stream.id)),
    ]);
    for (const layer of wanted) {
      const coverage = watch === null ? NOTHING : await followedCoverage(em, stream.id, layer, watch);
      const entryCount = await entriesOf(em, stream.id, layer, row.watchSetId);
      layers.push({
        coverage,
        status: await layerStatus(em, stream, row, layer, coverage, entryCount, options.endLedger),
      });
    }
    const endLedger = followed === null ? null : options.endLedger;
    const next = nextNeeded(
      row,
      layers.filter((each) => options.source.layers.includes(each.status.layer)),
    );
    const lastError = lastErrorOf(row, followed?.failure ?? null);
    const degraded = await whyDegraded(
      em,
      stream,
      row,
      layers,
      lastError,
      followed === null ? null : { staleAfterMs: options.staleAfterMs, now, done: isDone(row, endLedger) },
    );
    const status = syncStatus({
      diverged: stream.state === 'diverged',
      tip: row.tipLedger,
      nextLedger: next,
      endLedger,
      processedLedgers: row.processedLedgers,
      unreadableRanges: 0,
      lastSuccessAt: row.lastSuccessAt,
      lastErrorAt: null,
    });
    const margin = row.oldestLedger === null ? null : next - row.oldestLedger;
    return {
      ...namesOf(stream),
      syncStatus: degraded.length > 0 ? 'degraded' : isRestarting(row) ? 'starting' : status,
      degraded,
      startLedger: row.startLedger,
      endLedger,
      layers: layers.map((each) => each.status),
      tip: row.tipLedger,
      tipClosedAt: row.tipClosedAt,
      lag: row.tipLedger === null ? null : lagLedgers(row.tipLedger, next, endLedger),
      oldest: row.oldestLedger,
      retentionMargin: margin,
      retentionMarginMs: margin === null ? null : await marginMs(em, stream, row, layers, margin),
      processedLedgers: row.processedLedgers,
      rates: ratesOf(stream, row, now),
      lastSuccessAt: row.lastSuccessAt,
      lastError,
      followerUptimeMs: followed?.followerSince ? Math.max(0, now.getTime() - followed.followerSince.getTime()) : null,
      sources: followed === null ? [] : sourcesStatus(options.source, row, lastError),
      watchCount: await watchCount(em, stream.id),
      updatedAt: now,
    };
  };

  async function entriesOf(em: EntityManager, streamId: number, layer: Layer, watchSetId: number): Promise<bigint> {
    const key = `${streamId} ${layer} ${watchSetId}`;
    const known = counts.get(key);
    const nowMs = performance.now();
    if (known && nowMs - known.atMs < ENTRY_COUNT_MAX_AGE_MS) return known.count;
    const count = await countEntries(em, streamId, layer, watchSetId);
    counts.set(key, { atMs: nowMs, count });
    return count;
  }

  function ratesOf(stream: Stream, row: FollowerRow, now: Date): Rates {
    const sample = { atMs: now.getTime(), count: row.processedLedgers };
    const kept = keepSamples(samples.get(stream.id) ?? [], sample, SAMPLES_KEPT_MS, SAMPLES_GAP_MS);
    samples.set(stream.id, kept);
    const lifeMs = now.getTime() - stream.createdAt.getTime();
    return {
      over10s: rateOver(kept, 10_000),
      over1m: rateOver(kept, 60_000),
      overLife: lifeMs <= 0 ? null : Number(row.processedLedgers) / (lifeMs / 1000),
    };
  }
}

const NOBODY: InProcess = { failure: null, followerSince: null };
const NOTHING: ScopeCoverage = { done: [], quarantined: [], unavailable: [] };

interface LayerFacts {
  readonly coverage: ScopeCoverage;
  readonly status: LayerStatus;
}

function namesOf(stream: Stream): Pick<StreamStatus, 'stream' | 'networkPassphrase' | 'epoch' | 'sandbox' | 'state'> {
  return {
    stream: stream.name,
    networkPassphrase: stream.networkPassphrase,
    epoch: stream.epoch,
    sandbox: stream.sandbox,
    state: stream.state,
  };
}

async function layerStatus(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  layer: Layer,
  coverage: ScopeCoverage,
  entryCount: bigint,
  endLedger: number | null,
): Promise<LayerStatus> {
  const island = reachingIsland(coverage.done, row.nextLedger);
  const through = island === null ? null : island.to - 1;
  const atCheckpoint = through === row.nextLedger - 1 && row.lastHash !== null;
  const last = row.tipLedger === null ? null : endLedger === null ? row.tipLedger : Math.min(row.tipLedger, endLedger);
  return {
    layer,
    contiguousFrom: island?.from ?? null,
    contiguousThrough: through,
    contiguousThroughClosedAt:
      through === null
        ? null
        : atCheckpoint
          ? row.lastClosedAt
          : await closeTimeOfLedger(em, stream.id, layer, through),
    coveredLedgers: rangeLength(coverage.done),
    coveredRanges: coverage.done.length,
    quarantinedLedgers: rangeLength(coverage.quarantined),
    unavailableLedgers: rangeLength(coverage.unavailable),
    missingLedgers:
      last === null
        ? null
        : rangeLength(last < row.startLedger ? [] : subtract({ from: row.startLedger, to: last + 1 }, coverage.done)),
    entryCount,
  };
}

/** The next ledger that is needed: behind the layer that is least far. */
function nextNeeded(row: FollowerRow, layers: readonly LayerFacts[]): number {
  const ends = layers.map((each) => each.status.contiguousThrough ?? row.startLedger - 1);
  return ends.length === 0 ? row.nextLedger : Math.min(...ends) + 1;
}

/** Somebody asked for a restart, and the source hasn't answered since. */
function isRestarting({ restartedAt, lastSuccessAt }: FollowerRow): boolean {
  return restartedAt !== null && (lastSuccessAt === null || lastSuccessAt < restartedAt);
}

function isDone(row: FollowerRow, endLedger: number | null): boolean {
  return endLedger !== null && row.nextLedger > endLedger;
}

/** The newer one of what the rows keep and what this process met: a start that fails has no row to be kept in. */
function lastErrorOf(row: FollowerRow, met: Failure | null): Failure | null {
  const kept =
    row.lastErrorAt === null ? null : keptFailure(row.lastErrorReason, row.lastErrorMessage, row.lastErrorAt);
  if (met === null || met.at === null) return kept ?? met;
  return !kept?.at || met.at > kept.at ? met : { ...kept, fix: kept.reason === met.reason ? met.fix : kept.fix };
}

async function whyDegraded(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  layers: readonly LayerFacts[],
  lastError: Failure | null,
  following: { readonly staleAfterMs: number; readonly now: Date; readonly done: boolean } | null,
): Promise<Failure[]> {
  const degraded: Failure[] = [];
  const failedAt = lastError?.at ?? null;
  const failing = failedAt !== null && (row.lastSuccessAt === null || failedAt > row.lastSuccessAt);
  if (stream.state === 'diverged') {
    const known =
      lastError?.reason === 'SOURCE_DIVERGED' ? lastError.message : `the source no longer serves stream ${stream.name}`;
    const fix =
      'point TrueUp at a source of the same network; after a network reset: trueup follower restart --open-new-epoch --reason TEXT';
    degraded.push(keptFailure('SOURCE_DIVERGED', known, lastError?.at ?? null, fix));
  } else if (failing && lastError !== null && following !== null) {
    degraded.push(lastError);
  }
  if (following !== null && !failing && !following.done) {
    const silentMs = row.lastSuccessAt === null ? 0 : following.now.getTime() - row.lastSuccessAt.getTime();
    if (silentMs > following.staleAfterMs) {
      const message = `no follower has read ${stream.name} for ${Math.floor(silentMs / 1000)} s`;
      degraded.push(
        keptFailure(
          'WORK_ABANDONED',
          message,
          row.lastSuccessAt,
          'look whether a process runs that follows it: trueup serve',
        ),
      );
    }
  }
  degraded.push(...(await unreadable(em, stream, layers)));
  return degraded;
}

async function unreadable(em: EntityManager, stream: Stream, layers: readonly LayerFacts[]): Promise<Failure[]> {
  const named = new Map<string, Failure>();
  let others = 0;
  for (const { coverage, status } of layers) {
    for (const state of ['quarantined', 'unavailable'] as const) {
      for (const range of [...coverage[state]].reverse()) {
        // Both layers of a ledger come from the same bytes and fail together.
        const key = `${state} ${range.from}-${range.to}`;
        if (named.has(key)) continue;
        if (named.size >= MAX_RANGES_NAMED) {
          others++;
          continue;
        }
        const why = await reasonOfRange(em, stream.id, status.layer, range);
        named.set(key, unreadableFailure(range, state, why?.reason ?? null, why?.detail ?? null, why?.at ?? null));
      }
    }
  }
  const list = [...named.values()];
  if (others > 0)
    list.push(keptFailure('COVERAGE_GAP', `${others} more ranges are set apart`, null, 'ListCoverage names them all'));
  return list;
}

/** The margin as time, by the rate at which the network closed ledgers in what is covered. */
async function marginMs(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  layers: readonly LayerFacts[],
  margin: number,
): Promise<number | null> {
  const layer = layers[0];
  const island = layer && reachingIsland(layer.coverage.done, row.nextLedger);
  if (!layer || !island || row.tipLedger === null || row.tipClosedAt === null) return null;
  const early = await timedLedgerIn(em, stream.id, layer.status.layer, island);
  if (early === null || early.ledger >= row.tipLedger) return null;
  return Math.round((margin * (row.tipClosedAt.getTime() - early.closedAt.getTime())) / (row.tipLedger - early.ledger));
}
