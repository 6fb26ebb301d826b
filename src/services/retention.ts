// A source that is about to forget what is still needed: told ahead of time, and told again when it is over.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { AlertToRaise } from '../core/alert.ts';
import type { Layer } from '../core/entry.ts';
import { isNearlyForgotten, msUntilForgotten, type RetentionFacts } from '../core/retention.ts';
import type { Database } from '../store/database.ts';
import { gapsFrom, scopeOfFollowed } from '../store/coverage-gaps.ts';
import { followerWatch, timedLedgerIn } from '../store/status.ts';
import { currentStream, readFollower, type FollowerRow, type Stream } from '../store/streams.ts';
import { wantedOf } from './gaps.ts';

export interface RetentionDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
  /** The layers that should be covered. */
  readonly layers: readonly Layer[];
  /** Inclusive; null: no end. */
  readonly endLedger: number | null;
  /** Tells once of what lasts, and of its end, in the caller's transaction. */
  readonly raise: (em: EntityManager, alert: AlertToRaise) => Promise<void>;
}

const HOUR_MS = 3_600_000;
/** The pace is that of the ledgers covered within this many below the checkpoint: about five hours of a Stellar network. */
const PACE_LEDGERS = 3_600;
/** Gaps that are looked at for the first one that can still be had: those before it are lost already. */
const GAPS_LOOKED_AT = 100;

/** One look; the timetable calls it. */
export async function watchRetention(deps: RetentionDeps): Promise<void> {
  const em = deps.db.em();
  const stream = await currentStream(em, deps.networkPassphrase);
  const row = stream && (await readFollower(em, stream.id));
  if (!stream || !row) return;
  const needed = await firstNeeded(em, stream, row, deps);
  const facts = needed === null ? null : await factsOf(em, stream, row, needed, deps.layers[0] ?? 'operations');
  const near = facts !== null && isNearlyForgotten(facts, row.tipLedger ?? 0);
  await deps.db.em().transactional((tx) => deps.raise(tx, near ? nearAlert(stream, row, facts) : overAlert(stream)));
}

async function factsOf(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  needed: number,
  layer: Layer,
): Promise<RetentionFacts> {
  const { oldestLedger: oldest, firstOldestLedger: firstOldest } = row;
  return { oldest, firstOldest, needed, secondsPerLedger: await paceOf(em, stream, row, layer) };
}

/** The oldest ledger up to the tip that is missing and can still be had; null where there is none. */
async function firstNeeded(
  em: EntityManager,
  stream: Stream,
  row: FollowerRow,
  { layers, endLedger }: RetentionDeps,
): Promise<number | null> {
  const watch = await followerWatch(em, stream.id);
  if (watch === null) return null;
  const scope = await scopeOfFollowed(em, stream.id, watch);
  const wanted = wantedOf(row, undefined, endLedger);
  const firsts: number[] = [];
  for (const layer of layers) {
    const query = { streamId: stream.id, layer, scope, wanted, oldest: row.oldestLedger };
    const gap = (await gapsFrom(em, query, wanted.from, GAPS_LOOKED_AT)).find((each) => each.available !== false);
    if (gap) firsts.push(gap.from);
  }
  return firsts.length > 0 ? Math.min(...firsts) : null;
}

/** Seconds a ledger, from one covered some hours ago to the tip; null before two close times are known. */
async function paceOf(em: EntityManager, stream: Stream, row: FollowerRow, layer: Layer): Promise<number | null> {
  const recent = { from: Math.max(row.startLedger, row.nextLedger - PACE_LEDGERS), to: row.nextLedger };
  const early = await timedLedgerIn(em, stream.id, layer, recent);
  if (early === null || row.tipLedger === null || row.tipClosedAt === null || early.ledger >= row.tipLedger)
    return null;
  return (row.tipClosedAt.getTime() - early.closedAt.getTime()) / 1_000 / (row.tipLedger - early.ledger);
}

function baseOf(stream: Stream) {
  return { kind: 'STREAM_DEGRADED', dedupeKey: `retention:${stream.name}`, policy: null, stream: stream.name } as const;
}

function nearAlert(stream: Stream, row: FollowerRow, facts: RetentionFacts): AlertToRaise {
  const hours = ((msUntilForgotten(facts) ?? 0) / HOUR_MS).toFixed(1);
  return {
    ...baseOf(stream),
    severity: 'page',
    summary: `${stream.name}: the source forgets ledger ${facts.needed}, which is still to be read, in ${hours} h`,
    details: {
      needed_ledger: String(facts.needed),
      oldest_ledger: String(facts.oldest),
      fix: `trueup backfill start --from ${facts.needed} --to ${row.tipLedger ?? facts.needed}, or add a source with older history`,
    },
  };
}

function overAlert(stream: Stream): AlertToRaise {
  const summary = `${stream.name}: the source forgets nothing that is still to be read`;
  return { ...baseOf(stream), severity: 'info', summary, details: {}, resolves: true };
}
