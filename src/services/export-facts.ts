// What an export says of its own rows: which part of which stream, up to which cut, and how completely that was covered.
import type { EntityManager } from '@mikro-orm/postgresql';
import { EMPTY_DIGEST, addDigests, formatDigest } from '../core/digest.ts';
import { intersect, subtract } from '../core/coverage.ts';
import { TrueUpError } from '../core/errors.ts';
import type { ExportFilter, ExportJob } from '../core/export.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { CoverageStatement, ManifestContent, ManifestFilter } from '../core/manifest.ts';
import { coverageOf } from '../store/coverage-read.ts';
import { listChunks, watchSetsOf, watchSetsOfEverything } from '../store/coverage-lists.ts';
import { snapshotMoment } from '../store/ledger-side.ts';
import { exportedRuns } from '../store/export-runs.ts';
import { readFollower, type Stream } from '../store/streams.ts';
import type { StatementScope } from './statement.ts';
import { chooseStream } from './stream-choice.ts';

/** Ranges that a coverage statement lists; `complete` counts all. */
const MAX_MISSING_RANGES = 1000;
const CHUNKS_PER_PAGE = 5000;

export interface ExportFacts {
  /** Null for kinds that are no part of a stream. */
  readonly scope: StatementScope | null;
  readonly cut: ManifestContent['cut'];
  readonly coverage: readonly CoverageStatement[];
  readonly runs: ManifestContent['runs'];
}

/** As of the snapshot of `em`. @throws STREAM_NOT_FOUND, COVERAGE_GAP where nothing of the stream was read yet. */
export async function factsOf(
  em: EntityManager,
  { kind, filter }: Pick<ExportJob, 'kind' | 'filter'>,
  networkPassphrase: string,
): Promise<ExportFacts> {
  const { position } = await snapshotMoment(em);
  if (kind !== 'entries' && kind !== 'statement') {
    const runs = kind === 'runs' || kind === 'drifts' ? await exportedRuns(em, filter) : [];
    return { scope: null, cut: { ledger: null, position }, coverage: [], runs };
  }
  const stream = await chooseStream(em, filter.stream ?? null, networkPassphrase);
  const follower = await readFollower(em, stream.id);
  if (follower === null) {
    throw new TrueUpError('COVERAGE_GAP', `nothing of ${stream.name} was read yet`, { fix: 'wait for the follower' });
  }
  const layer = filter.layer ?? 'operations';
  // What was not closed yet can't be part of it, and what is written later must not be taken for a part.
  const whole = { from: follower.startLedger, to: follower.nextLedger };
  const range = filter.range === undefined ? whole : { from: filter.range.from, to: filter.range.to };
  const scope = { stream, layer, range };
  const statement = await coverageStatement(em, scope, filter);
  return { scope, cut: { ledger: range.to - 1, position }, coverage: [statement], runs: [] };
}

async function coverageStatement(
  em: EntityManager,
  { stream, layer, range }: StatementScope,
  filter: ExportFilter,
): Promise<CoverageStatement> {
  const { done } = await coverageOf(em, stream.id, layer, filter.accounts ?? null);
  const missing = range.from < range.to ? subtract(range, intersect([range], done)) : [];
  const complete = missing.length === 0 && range.from < range.to;
  const chunks = complete ? await foldChunks(em, stream, layer, range, filter) : null;
  return {
    stream: stream.name,
    layer,
    fromLedger: range.from,
    toLedger: range.to - 1,
    complete,
    missing: missing
      .slice(0, MAX_MISSING_RANGES)
      .map((gap: LedgerRange) => ({ fromLedger: gap.from, toLedger: gap.to - 1 })),
    trust: chunks?.trust ?? null,
    digest: chunks?.digest ?? null,
  };
}

/** The chunks' digests added up, where whole sealed chunks make up the range exactly; else the trust alone. */
async function foldChunks(
  em: EntityManager,
  stream: Stream,
  layer: StatementScope['layer'],
  range: LedgerRange,
  filter: ExportFilter,
): Promise<{ trust: 'chained' | 'provider-asserted'; digest: string | null }> {
  const [account] = filter.accounts ?? [];
  const watchSetIds =
    account === undefined ? await watchSetsOfEverything(em, stream.id) : await watchSetsOf(em, stream.id, account);
  const selection = { layers: [layer], watchSetIds: watchSetIds.slice(0, 1), states: ['done' as const], range };
  let [sum, isWhole, trust] = [EMPTY_DIGEST, true, 'chained' as 'chained' | 'provider-asserted'];
  let next = range.from;
  for (let after: Parameters<typeof listChunks>[3] = null; ;) {
    const page: Awaited<ReturnType<typeof listChunks>> = await listChunks(
      em,
      stream.id,
      selection,
      after,
      CHUNKS_PER_PAGE,
    );
    for (const chunk of page) {
      isWhole &&= chunk.digest !== null && chunk.range.from === next;
      next = chunk.range.to;
      if (chunk.digest !== null) sum = addDigests(sum, chunk.digest);
      if (chunk.proof !== 'chained') trust = 'provider-asserted';
    }
    const last = page.at(-1);
    if (last === undefined || page.length < CHUNKS_PER_PAGE) break;
    after = { ledger: last.range.from, layer: last.layer, watchSetId: last.watchSetId };
  }
  return { trust, digest: isWhole && next === range.to ? formatDigest(sum) : null };
}

/** The filter as a manifest has it: plain JSON, ledgers inclusive. */
export function manifestFilter(filter: ExportFilter): ManifestFilter {
  const { range, from, to, runId, ...rest } = filter;
  return {
    ...rest,
    ...(range && { fromLedger: range.from, toLedger: range.to - 1 }),
    ...(from && { startTime: from.toISOString() }),
    ...(to && { endTime: to.toISOString() }),
    ...(runId !== undefined && { reconciliationId: runId }),
  };
}
