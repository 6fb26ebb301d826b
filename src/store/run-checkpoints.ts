// How far a run has come: its cut, fixed once, and after each segment what was found and counted, in one transaction.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, sqlCount } from './database.ts';
import { insertFindings, type FindingRow } from './findings.ts';
import { fromJson, toJson } from './json.ts';
import { lostRun, type HeldRun } from './runs.ts';

/** `window`: the merge of both sides; `recheck`: the keys of open drifts that the window didn't show. */
export interface Progress<Counts> {
  readonly phase: 'window' | 'recheck';
  /** The last key done; null: none yet. */
  readonly afterKey: string | null;
  readonly counts: Counts;
}

export interface Checkpoint<Cut, Counts> extends Progress<Counts> {
  readonly cut: Cut;
}

/** Null where the run has not begun to compare, or lost what it had when the server crashed. */
export async function readCheckpoint<Cut, Counts>(
  em: EntityManager,
  runId: string,
): Promise<Checkpoint<Cut, Counts> | null> {
  const [row] = await sql<{ cut: unknown; phase: 'window' | 'recheck'; after_key: string | null; counts: unknown }>(
    em,
    `select cut, phase, after_key, counts from trueup.run_checkpoints where run_id = $1`,
    [runId],
  );
  if (row === undefined) return null;
  return { cut: fromJson(row.cut), phase: row.phase, afterKey: row.after_key, counts: fromJson(row.counts) };
}

/** What is written for a run is written while it is this worker's, and nobody takes it over or cancels it meanwhile. */
const HELD_SQL = `held as materialized (select id from trueup.reconciliations
  where id = $1 and attempt = $2 and state = 'running' and not cancel_requested for no key update)`;

/**
 * Forgets what was found before and fixes the cut, if there is one that can be read again (null otherwise).
 *
 * @throws TrueUpError RUN_ALREADY_FINISHED, as all that follow, where the run isn't this worker's any more.
 */
export async function beginCheckpoint(em: EntityManager, run: HeldRun, cut: object | null): Promise<void> {
  const held = await sql(
    em,
    `with ${HELD_SQL},
       forgotten as (delete from trueup.run_findings where run_id in (select id from held)),
       left_over as (delete from trueup.run_checkpoints where run_id in (select id from held) and $3::jsonb is null),
       kept as (insert into trueup.run_checkpoints (run_id, cut, phase, counts)
         select id, $3::jsonb, 'window', '{}' from held where $3::jsonb is not null
         on conflict (run_id) do update set cut = excluded.cut, phase = 'window', after_key = null, counts = '{}')
     select 1 from held`,
    [run.id, run.attempt, cut && toJson(cut)],
  );
  if (held.length === 0) throw lostRun(run);
}

/** Keeps findings; with a progress, also that everything up to it is done. */
export async function saveFindings(
  em: EntityManager,
  run: HeldRun,
  findings: readonly FindingRow[],
  progress: Progress<object> | null,
): Promise<void> {
  await em.transactional(async (inner) => {
    const held = await sql(
      inner,
      `with ${HELD_SQL},
         kept as (update trueup.run_checkpoints set phase = $3, after_key = $4, counts = $5::jsonb
           where run_id in (select id from held) and $3::text is not null)
       select 1 from held`,
      [run.id, run.attempt, progress?.phase ?? null, progress?.afterKey ?? null, progress && toJson(progress.counts)],
    );
    if (held.length === 0) throw lostRun(run);
    await insertFindings(inner, run.id, findings);
  });
}

/** Deletes what a run found and how far it came, where it has ended: one that goes on needs both, whoever works on it. */
export async function discardIfOver(em: EntityManager, runId: string): Promise<void> {
  await sqlCount(
    em,
    `with over as materialized (select $1::uuid as id where not exists
         (select from trueup.reconciliations where id = $1 and state in ('queued', 'running'))),
       forgotten as (delete from trueup.run_findings where run_id in (select id from over))
     delete from trueup.run_checkpoints where run_id in (select id from over)`,
    [runId],
  );
}

/** As `discardIfOver`, for whatever ended runs left behind because their worker died or the database was away. */
export async function discardLeftovers(em: EntityManager): Promise<void> {
  const rows = await sql<{ run_id: string }>(
    em,
    `with recursive held as (
       (select run_id from trueup.run_findings order by run_id limit 1)
       union all
       select next.run_id from held cross join lateral
         (select run_id from trueup.run_findings as finding where finding.run_id > held.run_id order by run_id limit 1) as next)
     select run_id from held union select run_id from trueup.run_checkpoints`,
  );
  for (const { run_id } of rows) await discardIfOver(em, run_id);
}
