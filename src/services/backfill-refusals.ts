// What a start refuses at once, because it cannot work, each with the call that would.
import { isDeepStrictEqual } from 'node:util';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Layer } from '../core/entry.ts';
import { isTrueUpError, TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { makeWatch, type Watch } from '../core/watch.ts';
import type { Source } from '../sources/source.ts';
import { viewBackfill } from '../store/backfill-view.ts';
import { findJob, jobOfRequest, overlappingJobs, type BackfillRequest } from '../store/backfills.ts';
import type { Database } from '../store/database.ts';
import { readFollower, type Stream } from '../store/streams.ts';
import { missingRanges } from './backfill-steps.ts';
import { namesSource } from './backfill-worker.ts';

/** A range beyond it is most likely a mistake; history is longer only in parts. */
export const MAX_BACKFILL_LEDGERS = 100_000_000;
const TIP_TIMEOUT_MS = 3_000;

export function refuseRange(range: LedgerRange): void {
  if (range.from < 1 || range.from >= range.to) {
    throw new TrueUpError('INVALID_LEDGER_RANGE', `ledgers ${words(range)} are no range`, {
      fix: 'both ends are inclusive and the first is 1 or more: trueup backfill start --from FIRST --to LAST',
    });
  }
  if (range.to - range.from > MAX_BACKFILL_LEDGERS) {
    throw new TrueUpError('RANGE_TOO_LARGE', `${range.to - range.from} ledgers are more than ${MAX_BACKFILL_LEDGERS}`, {
      fix: `start with ${call({ from: range.from, to: range.from + MAX_BACKFILL_LEDGERS })}`,
    });
  }
}

export function chooseSources(sources: readonly Source[], stream: Stream, name: string | null): Source[] {
  const named = sources.filter((source) => name === null || namesSource(source, name));
  if (named.length === 0) {
    throw new TrueUpError('SOURCE_NOT_FOUND', `there is no source ${JSON.stringify(name)}`, {
      fix: `use one of ${sources.map((source) => source.id).join(', ')}, or leave it out`,
    });
  }
  const able = named.filter((source) => source.networkPassphrase === stream.networkPassphrase);
  if (able.length > 0) return able;
  throw new TrueUpError(
    'SOURCE_WRONG_NETWORK',
    `stream ${stream.name} is of the network ${JSON.stringify(stream.networkPassphrase)}, ${named[0]!.id} serves ${JSON.stringify(named[0]!.networkPassphrase)}`,
    { fix: 'name the stream of that network (see GetStatus), or configure a source of this one' },
  );
}

export function chooseLayers(sources: readonly Source[], layer: Layer | null): Layer[] {
  const served = [...new Set(sources.flatMap((source) => source.layers))];
  if (layer === null) return served;
  if (served.includes(layer)) return [layer];
  throw new TrueUpError('INVALID_REQUEST', `no source shows the layer ${layer}`, {
    fix: `leave the layer out: it is then ${served.join(' and ')}`,
    fields: [{ field: 'layer', description: `is not served; ${served.join(', ')} would be` }],
  });
}

export function narrowWatch(watch: Watch, ids: readonly string[]): Watch {
  if (ids.length === 0) return watch;
  const watched = new Set([...watch.accounts, ...watch.contracts]);
  const unknown = watch.everything ? undefined : ids.find((id) => !watched.has(id));
  const wrong = unknown ?? ids.find((id) => !/^[GC]/.test(id));
  if (wrong !== undefined) {
    throw new TrueUpError('INVALID_REQUEST', `${wrong} is not watched`, {
      fix: 'add it to TRUEUP_WATCH_ACCOUNTS or TRUEUP_WATCH_CONTRACTS, or leave watch empty for all that is watched',
      fields: [{ field: `watch[${ids.indexOf(wrong)}]`, description: 'is not watched' }],
    });
  }
  return makeWatch(
    ids.filter((id) => id.startsWith('G')),
    ids.filter((id) => !id.startsWith('G')),
  );
}

/** The job that this very request has started before; null where it is a new one. */
export async function repeated(
  em: EntityManager,
  request: BackfillRequest,
  requestId: string | null,
): Promise<string | null> {
  const known = requestId === null ? null : await jobOfRequest(em, requestId);
  if (known === null) return null;
  const same = (Object.keys(request) as (keyof BackfillRequest)[]).every(
    // A resumed job may have other limits by now.
    (key) => key === 'limits' || isDeepStrictEqual(known[key], request[key]),
  );
  if (same) return known.id;
  throw new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used for another backfill`, {
    fix: 'take a new UUID for a new request',
  });
}

/** A range that no source has, or that isn't closed yet, is refused with the call that would work. */
export async function refuseOutside(
  db: Database,
  sources: readonly Source[],
  stream: Stream,
  range: LedgerRange,
): Promise<void> {
  const follower = await readFollower(db.em(), stream.id);
  const inside = (tip: number, oldest: number): boolean => range.to - 1 <= tip && range.from >= oldest;
  if (follower?.tipLedger && follower.oldestLedger && inside(follower.tipLedger, follower.oldestLedger)) return;
  const answers = await Promise.all(
    sources.map((source) =>
      source.tip(AbortSignal.timeout(TIP_TIMEOUT_MS)).catch((error: unknown) => {
        // Whether a source that doesn't answer has the ledgers is found out when it does: the job waits for it.
        if (isTrueUpError(error) || error instanceof DOMException) return null;
        throw error;
      }),
    ),
  );
  const tips = answers.filter((answer) => answer !== null);
  if (tips.length === 0) return;
  const tip = Math.max(...tips.map((each) => each.sequence));
  const oldest = Math.min(...tips.map((each) => each.oldest));
  if (range.to - 1 > tip) {
    throw new TrueUpError('RANGE_BEYOND_TIP', `ledger ${range.to - 1} is not closed yet; the last one is ${tip}`, {
      range,
      fix:
        range.from <= tip
          ? call({ from: range.from, to: tip + 1 })
          : `the last that there is: ${call({ from: tip, to: tip + 1 })}`,
    });
  }
  if (range.to - 1 < oldest) {
    throw new TrueUpError(
      'LEDGER_UNAVAILABLE',
      `ledgers ${words(range)} are older than what any source keeps: ${oldest}-${tip}`,
      {
        range,
        fix: `configure an archive or a lake that has them; what would work here: ${call({ from: oldest, to: tip + 1 })}`,
      },
    );
  }
}

export async function refuseOverlap(em: EntityManager, stream: Stream, range: LedgerRange): Promise<void> {
  const [other] = await overlappingJobs(em, stream.id, range);
  if (other === undefined) return;
  throw new TrueUpError(
    'RUN_ALREADY_ACTIVE',
    `backfill ${other.id} has ledgers ${words(other.range)} of ${stream.name} in hand`,
    {
      range: other.range,
      fix: `trueup backfill watch ${other.id}, or trueup backfill cancel ${other.id} first`,
      metadata: { backfill_id: other.id },
    },
  );
}

/** The plan of a dry run may be applied as long as it is what there is to do. */
export async function refuseOldPlan(em: EntityManager, request: BackfillRequest, watchSetId: number): Promise<void> {
  if (request.planOf === null) return;
  const plan = (await viewBackfill(em, request.planOf)) && (await findJob(em, request.planOf));
  if (!plan) {
    throw new TrueUpError('BACKFILL_NOT_FOUND', `there is no dry run ${request.planOf}`, {
      fix: 'start one with dry_run first, or leave plan_of empty',
    });
  }
  if (!plan.dryRun || plan.state !== 'succeeded') {
    throw new TrueUpError('INVALID_TRANSITION', `backfill ${request.planOf} is no finished dry run`, {
      fix: 'wait for its end, or start one with dry_run',
    });
  }
  const keys = ['streamId', 'layers', 'range', 'source', 'watch', 'reread'] as const;
  const now = await missingRanges(em, { ...request, watchSetId });
  if (keys.every((key) => isDeepStrictEqual(plan[key], request[key])) && isDeepStrictEqual(now, plan.missingRanges))
    return;
  throw new TrueUpError('REVISION_CONFLICT', `what is to be done is no longer what dry run ${request.planOf} found`, {
    fix: 'make another dry run of the same range and apply that',
  });
}

/** Inclusive, as people read it. */
function words(range: LedgerRange): string {
  return `${range.from}-${range.to - 1}`;
}

function call(range: LedgerRange): string {
  return `trueup backfill start --from ${range.from} --to ${range.to - 1}`;
}
