// What a run finds, and how drifts are made of it: in one transaction, with one identity through all runs.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { DriftField, DriftKind, DriftSide } from '../core/drift.ts';
import type { Layer } from '../core/entry.ts';
import type { FindingExemption } from '../core/exemption.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Level } from '../core/policy.ts';
import { sql, sqlCount } from './database.ts';
import { SERVICE_ACTOR } from './drift-transitions.ts';
import { toJson } from './json.ts';
import { closeTimeAfter, closeTimeBefore } from './ledger-side.ts';

/** One difference that a run proved; or, with no kinds, the proof that an open drift's sides agree now. */
export interface FindingRow {
  readonly matchKey: string;
  readonly occurrence: number;
  readonly kinds: readonly DriftKind[];
  readonly fields: readonly DriftField[];
  readonly ledgerSide: DriftSide | null;
  readonly bookSide: DriftSide | null;
  readonly account: string;
  readonly asset: string;
  readonly valueAtRisk: bigint | null;
  readonly itemAt: Date | null;
  /** Why the policy doesn't hold it against anybody; absent: it does. */
  readonly exemption?: FindingExemption | null;
}

/** Call it in a transaction in which the run is held. A finding that is there already was made of the same rows. */
export async function insertFindings(em: EntityManager, runId: string, findings: readonly FindingRow[]): Promise<void> {
  if (findings.length === 0) return;
  await sqlCount(
    em,
    `insert into trueup.run_findings (run_id, match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset,
       value_at_risk, item_at, exemption)
     select $1, match_key, occurrence, string_to_array(kinds, ','), fields, ledger_side, book_side, account, asset, value_at_risk,
       item_at, exemption
     from unnest($2::text[], $3::int[], $4::text[], $5::jsonb[], $6::jsonb[], $7::jsonb[], $8::text[], $9::text[],
       $10::numeric[], $11::timestamptz[], $12::jsonb[])
       as finding (match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset, value_at_risk, item_at, exemption)
     on conflict do nothing`,
    [
      runId,
      findings.map((finding) => finding.matchKey),
      findings.map((finding) => finding.occurrence),
      findings.map((finding) => finding.kinds.join(',')),
      findings.map((finding) => toJson(finding.fields)),
      findings.map((finding) => finding.ledgerSide && toJson(finding.ledgerSide)),
      findings.map((finding) => finding.bookSide && toJson(finding.bookSide)),
      findings.map((finding) => finding.account),
      findings.map((finding) => finding.asset),
      findings.map((finding) => finding.valueAtRisk?.toString() ?? null),
      findings.map((finding) => finding.itemAt?.toISOString() ?? null),
      findings.map((finding) => finding.exemption && toJson(finding.exemption)),
    ],
  );
}

/** A run's findings in a fixed order, for its result digest. */
export async function* findingsInOrder(em: EntityManager, runId: string): AsyncGenerator<string[]> {
  const pageRows = 5000;
  let after = ['', -1] as [string, number];
  for (;;) {
    const rows = await sql<{ match_key: string; occurrence: number; text: string }>(
      em,
      `select match_key, occurrence, concat_ws(chr(31), match_key, occurrence, array_to_string(kinds, ','), fields::text) as text
       from trueup.run_findings where run_id = $1 and kinds <> '{}' and (match_key, occurrence) > ($2, $3)
       order by match_key, occurrence limit ${pageRows}`,
      [runId, ...after],
    );
    if (rows.length > 0) yield rows.map((row) => row.text);
    if (rows.length < pageRows) return;
    after = [rows.at(-1)!.match_key, rows.at(-1)!.occurrence];
  }
}

/** Keys of unresolved drifts that a run hasn't come across yet, in order; it must read both their sides again. */
export async function openKeysNotFound(
  em: EntityManager,
  policy: string,
  runId: string,
  afterKey: string | null,
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ match_key: string }>(
    em,
    `select distinct match_key from trueup.drifts as drift
     where policy = $1 and state <> 'resolved' and ($3::text is null or match_key > $3)
       and not exists (select 1 from trueup.run_findings as finding
         where finding.run_id = $2 and finding.match_key = drift.match_key and finding.occurrence = drift.occurrence)
     order by match_key limit $4`,
    [policy, runId, afterKey, limit],
  );
  return rows.map((row) => row.match_key);
}

export interface Explained {
  readonly policy: string;
  readonly level: Level;
  readonly streamId: number;
  readonly layer: Layer;
  /** Half-open. */
  readonly range: LedgerRange;
  /** How far a book's time may lie from the ledger's. */
  readonly lookaroundMs: number;
}

/**
 * Keys of unresolved drifts that newly read ledgers may explain, in order: what the ledger side has of them lies there, or it has
 * nothing and the book's row may belong there. A balance is explained by any ledger up to its own.
 */
export async function explainedKeys(
  em: EntityManager,
  { policy, level, streamId, layer, range, lookaroundMs }: Explained,
  afterKey: string | null,
  limit: number,
): Promise<string[]> {
  const fromMs = (await closeTimeBefore(em, streamId, layer, range.from)) ?? 0;
  const toMs = (await closeTimeAfter(em, streamId, layer, range.to - 1)) ?? Date.now();
  const where =
    level === 'balances'
      ? `(ledger is null or ledger >= $4) and $5::int is not null and $6::timestamptz <= $7::timestamptz`
      : `((ledger >= $4 and ledger < $5) or (ledger_side is null and coalesce(
           (book_side->>'ledger')::int >= $4 and (book_side->>'ledger')::int < $5,
           item_at is null or item_at between $6 and $7)))`;
  const rows = await sql<{ match_key: string }>(
    em,
    `select distinct match_key from trueup.drifts
     where policy = $1 and state <> 'resolved' and ($2::text is null or match_key > $2) and ${where}
     order by match_key limit $3`,
    [
      ...[policy, afterKey, limit, range.from, range.to],
      ...[new Date(fromMs - lookaroundMs).toISOString(), new Date(toMs + lookaroundMs).toISOString()],
    ],
  );
  return rows.map((row) => row.match_key);
}

/** Unresolved drifts of some keys: which occurrences a re-read has to answer for. */
export async function openOccurrences(
  em: EntityManager,
  policy: string,
  keys: readonly string[],
): Promise<{ matchKey: string; occurrence: number; account: string; asset: string }[]> {
  const rows = await sql<{ match_key: string; occurrence: number; account: string; asset: string }>(
    em,
    `select match_key, occurrence, account, asset from trueup.drifts
     where policy = $1 and state <> 'resolved' and match_key = any($2::text[])`,
    [policy, keys],
  );
  return rows.map((row) => ({
    matchKey: row.match_key,
    occurrence: row.occurrence,
    account: row.account,
    asset: row.asset,
  }));
}

export interface MergeTarget {
  readonly runId: string;
  readonly policy: string;
  readonly level: Level;
  readonly stream: string | null;
  readonly sandbox: boolean;
  /** Unix ms; what was resolved after it is newer news than the run's findings. */
  readonly cutAtMs: number;
}

export interface MergeResult {
  /** Drifts that this run found for the first time or reopened. */
  readonly appeared: number;
  /** Those of a new episode, and known ones that took on a kind. */
  readonly changed: number;
  readonly resolved: number;
  /** Each kind once for each drift in which it is new: what `reconciliation_drift_total` counts. */
  readonly appearedKinds: ReadonlyMap<DriftKind, number>;
}

/** A drift that comes back within this is the same episode: one story, one alert, counted once. */
const EPISODE_SQL = `interval '24 hours'`;

/**
 * Makes drifts of a run's findings: new ones open, known ones are refreshed, resolved ones reopen in place, and those whose sides
 * were read again and agree are resolved. Nothing is resolved by leaving the window. Under the policy's lock.
 */
export async function mergeFindings(em: EntityManager, target: MergeTarget): Promise<MergeResult> {
  const { runId, policy } = target;
  const cutAt = new Date(target.cutAtMs).toISOString();
  // Grouping sets: a line for each kind, and one for the drifts that bear any of them.
  const news = await sql<{ kind: DriftKind | null; count: string }>(
    em,
    `select kind, count(distinct (finding.match_key, finding.occurrence))::text as count from trueup.run_findings as finding
       left join trueup.drifts as drift on drift.policy = $2 and drift.match_key = finding.match_key
         and drift.occurrence = finding.occurrence
       cross join unnest(finding.kinds) as kind
     where finding.run_id = $1 and finding.exemption is null and (drift.id is null or not kind = any(drift.kinds)
         or (drift.state = 'resolved' and drift.resolved_at < now() - ${EPISODE_SQL}))
       and (drift.resolved_at is null or drift.resolved_at <= $3)
     group by grouping sets ((kind), ())`,
    [runId, policy, cutAt],
  );
  const accused = `${HISTORY_SQL} and finding.kinds <> '{}' and finding.exemption is null`;
  await sql(em, `${accused} and drift.state = 'resolved' and drift.resolved_at <= $6`, [
    ...[runId, policy, 'reopen', 'open', 'a run sees it again', cutAt],
  ]);
  await sql(em, `${accused} and ${BY_POLICY}`, [
    ...[runId, policy, 'reopen', 'open', 'the policy exempts it no longer'],
  ]);
  await sql(em, EXEMPTED_SQL, [runId, policy, cutAt]);
  const merged = await sql<{ appeared: string }>(em, MERGE_SQL, [
    ...[runId, policy, target.level, target.stream, target.sandbox, cutAt],
  ]);
  await sql(em, `${HISTORY_SQL} and finding.kinds = '{}' and drift.state <> 'resolved'`, [
    ...[runId, policy, 'resolve', 'resolved', 'both sides were read again and agree'],
  ]);
  const resolved = await sqlCount(
    em,
    `update trueup.drifts as drift set state = 'resolved', resolution_cause = 'sides_agree', resolved_at = now(),
       transition_at = now(), transition_actor = '${SERVICE_ACTOR}', owner = null, exempt_until = null, last_run_id = $1,
       revision = revision + 1
     from trueup.run_findings as finding
     where finding.run_id = $1 and finding.kinds = '{}' and drift.policy = $2 and drift.state <> 'resolved'
       and drift.match_key = finding.match_key and drift.occurrence = finding.occurrence`,
    [runId, policy],
  );
  return {
    appeared: Number(merged[0]!.appeared),
    resolved,
    changed: Number(news.find((row) => row.kind === null)?.count ?? 0),
    appearedKinds: new Map(news.flatMap((row) => (row.kind === null ? [] : [[row.kind, Number(row.count)] as const]))),
  };
}

/** Who exempts a drift where the policy does; what it exempts opens again once the policy doesn't any more. */
const POLICY_ACTOR = 'policy';
const BY_POLICY = `drift.state = 'exempt' and drift.transition_actor = '${POLICY_ACTOR}'`;
const EXEMPTS = `(excluded.state = 'exempt' and (drift.state <> 'exempt' or ${BY_POLICY}))`;
const ENDS = `(excluded.state <> 'exempt' and ${BY_POLICY})`;
const REOPENS = `(${ENDS} or (excluded.state <> 'exempt' and drift.state = 'resolved'))`;

const HISTORY_SQL = `
  insert into trueup.drift_transitions (drift_id, transition, from_state, to_state, reason, actor)
  select drift.id, $3, drift.state, $4, $5, '${SERVICE_ACTOR}' from trueup.run_findings as finding
    join trueup.drifts as drift on drift.policy = $2 and drift.match_key = finding.match_key
      and drift.occurrence = finding.occurrence
  where finding.run_id = $1`;

const EXEMPTED_SQL = `
  insert into trueup.drift_transitions (drift_id, transition, from_state, to_state, reason, actor)
  select drift.id, 'exempt', drift.state, 'exempt', finding.exemption->>'reason', '${POLICY_ACTOR}'
  from trueup.run_findings as finding
    join trueup.drifts as drift on drift.policy = $2 and drift.match_key = finding.match_key
      and drift.occurrence = finding.occurrence
  where finding.run_id = $1 and finding.exemption is not null and drift.state <> 'exempt'
    and (drift.resolved_at is null or drift.resolved_at <= $3)`;

// The id is made of the identity, so that two databases that saw the same drift call it the same.
const MERGE_SQL = `
  with merged as (
    insert into trueup.drifts as drift (id, policy, level, stream, sandbox, match_key, occurrence, kinds, fields, ledger_side,
      book_side, account, asset, value_at_risk, state, reason, owner, exempt_until, transition_at, transition_actor, item_at,
      first_seen_at, last_seen_at, first_run_id, last_run_id)
    select left(encode(sha256(convert_to(concat_ws(chr(31), $2::text, match_key, occurrence), 'UTF8')), 'hex'), 32)::uuid,
      $2, $3, $4, $5, match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset, value_at_risk,
      case when exemption is null then 'open' else 'exempt' end, exemption->>'reason', exemption->>'owner',
      (exemption->'expiresAt'->>'$t')::timestamptz, case when exemption is null then null else now() end,
      case when exemption is null then null else '${POLICY_ACTOR}' end, item_at, now(), now(), $1, $1
    from trueup.run_findings where run_id = $1 and kinds <> '{}'
    on conflict (policy, match_key, occurrence) do update set
      kinds = excluded.kinds, fields = excluded.fields, ledger_side = excluded.ledger_side, book_side = excluded.book_side,
      account = excluded.account, asset = excluded.asset, value_at_risk = excluded.value_at_risk, item_at = excluded.item_at,
      stream = excluded.stream, sandbox = excluded.sandbox, last_seen_at = now(), last_run_id = $1,
      seen_runs = case when drift.state = 'resolved' then 1 else drift.seen_runs + 1 end,
      state = case when excluded.state = 'exempt' then 'exempt' when ${REOPENS} then 'open' else drift.state end,
      -- A person's own exemption keeps its words.
      reason = case when ${EXEMPTS} then excluded.reason when ${ENDS} then null else drift.reason end,
      owner = case when ${EXEMPTS} then excluded.owner when ${ENDS} then null else drift.owner end,
      exempt_until = case when ${EXEMPTS} then excluded.exempt_until when ${ENDS} then null else drift.exempt_until end,
      episode = drift.episode + (drift.state = 'resolved' and drift.resolved_at < now() - ${EPISODE_SQL})::int,
      reopened_count = drift.reopened_count + (drift.state = 'resolved')::int,
      transition_at = case when (${EXEMPTS} and drift.state <> 'exempt') or ${REOPENS} then now() else drift.transition_at end,
      transition_actor = case when ${EXEMPTS} then '${POLICY_ACTOR}' when ${REOPENS} then '${SERVICE_ACTOR}' else drift.transition_actor end,
      resolution_cause = case when drift.state = 'resolved' then null else drift.resolution_cause end,
      resolved_at = null,
      revision = drift.revision + 1
    where drift.resolved_at is null or drift.resolved_at <= $6
    returning state <> 'exempt' and (first_run_id = $1 or (transition_at = now() and transition_actor = '${SERVICE_ACTOR}')) as appeared)
  select count(*) filter (where appeared)::text as appeared from merged`;
