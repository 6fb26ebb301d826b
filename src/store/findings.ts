// What a run finds, and how drifts are made of it: in one transaction, with one identity through all runs.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { DriftField, DriftKind, DriftSide } from '../core/drift.ts';
import type { FindingExemption } from '../core/exemption.ts';
import type { Level } from '../core/policy.ts';
import type { AssetTotal, KindCount } from '../core/run.ts';
import { sql, sqlCount } from './database.ts';
import { toJson } from './json.ts';
import type { HeldRun } from './runs.ts';

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

export async function insertFindings(em: EntityManager, run: HeldRun, findings: readonly FindingRow[]): Promise<void> {
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
      findingsId(run),
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

/** Deletes what the run's attempts up to one have found. */
export async function deleteFindings(
  em: EntityManager,
  run: Pick<HeldRun, 'id'>,
  throughAttempt: number,
): Promise<void> {
  const ids = Array.from({ length: throughAttempt }, (_, i) => findingsId({ id: run.id, attempt: i + 1 }));
  await sqlCount(em, `delete from trueup.run_findings where run_id = any($1::uuid[])`, [ids]);
}

/** Findings are an attempt's own: a worker that was taken for dead and isn't must not mix its findings with its successor's. */
function findingsId(run: HeldRun): string {
  const digest = createHash('sha256').update(`${run.id} ${run.attempt}`).digest('hex');
  return [
    digest.slice(0, 8),
    digest.slice(8, 12),
    digest.slice(12, 16),
    digest.slice(16, 20),
    digest.slice(20, 32),
  ].join('-');
}

/** A run's findings in a fixed order, for its result digest. */
export async function* findingsInOrder(em: EntityManager, run: HeldRun): AsyncGenerator<string[]> {
  const pageRows = 5000;
  let after = ['', -1] as [string, number];
  for (;;) {
    const rows = await sql<{ match_key: string; occurrence: number; text: string }>(
      em,
      `select match_key, occurrence, concat_ws(chr(31), match_key, occurrence, array_to_string(kinds, ','), fields::text) as text
       from trueup.run_findings where run_id = $1 and kinds <> '{}' and (match_key, occurrence) > ($2, $3)
       order by match_key, occurrence limit ${pageRows}`,
      [findingsId(run), ...after],
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
  run: HeldRun,
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
    [policy, findingsId(run), afterKey, limit],
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
  readonly run: HeldRun;
  readonly policy: string;
  readonly level: Level;
  readonly stream: string | null;
  readonly sandbox: boolean;
}

export interface MergeResult {
  /** Drifts that this run found for the first time or reopened. */
  readonly appeared: number;
  /** Those, and known ones that took on a kind. */
  readonly changed: number;
  readonly resolved: number;
  /** Each kind once for each drift in which it is new: what `reconciliation_drift_total` counts. */
  readonly appearedKinds: ReadonlyMap<DriftKind, number>;
}

/**
 * Makes drifts of a run's findings: new ones open, known ones are refreshed, resolved ones reopen in place, and those whose sides
 * were read again and agree are resolved. Nothing is resolved by leaving the window.
 */
export async function mergeFindings(em: EntityManager, target: MergeTarget): Promise<MergeResult> {
  const findings = findingsId(target.run);
  // Grouping sets: a line for each kind, and one for the drifts that bear any of them.
  const news = await sql<{ kind: DriftKind | null; count: string }>(
    em,
    `select kind, count(distinct (finding.match_key, finding.occurrence))::text as count from trueup.run_findings as finding
       left join trueup.drifts as drift on drift.policy = $2 and drift.match_key = finding.match_key
         and drift.occurrence = finding.occurrence
       cross join unnest(finding.kinds) as kind
     where finding.run_id = $1 and finding.exemption is null and (drift.id is null or drift.state = 'resolved' or not kind = any(drift.kinds))
     group by grouping sets ((kind), ())`,
    [findings, target.policy],
  );
  const merged = await sql<{ appeared: string }>(em, MERGE_SQL, [
    target.run.id,
    target.policy,
    target.level,
    target.stream,
    target.sandbox,
    findings,
  ]);
  const resolved = await sqlCount(
    em,
    `update trueup.drifts as drift set state = 'resolved', resolution_cause = 'sides_agree', resolved_at = now(),
       transition_at = now(), transition_actor = 'trueup', last_run_id = $1, revision = revision + 1
     from trueup.run_findings as finding
     where finding.run_id = $3 and finding.kinds = '{}' and drift.policy = $2 and drift.state <> 'resolved'
       and drift.match_key = finding.match_key and drift.occurrence = finding.occurrence`,
    [target.run.id, target.policy, findings],
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
const REOPENS = `(excluded.state <> 'exempt' and (drift.state = 'resolved' or ${BY_POLICY}))`;

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
    from trueup.run_findings where run_id = $6 and kinds <> '{}'
    on conflict (policy, match_key, occurrence) do update set
      kinds = excluded.kinds, fields = excluded.fields, ledger_side = excluded.ledger_side, book_side = excluded.book_side,
      account = excluded.account, asset = excluded.asset, value_at_risk = excluded.value_at_risk, item_at = excluded.item_at,
      stream = excluded.stream, sandbox = excluded.sandbox, last_seen_at = now(), last_run_id = $1,
      seen_runs = case when drift.state = 'resolved' then 1 else drift.seen_runs + 1 end,
      state = case when excluded.state = 'exempt' then 'exempt' when ${REOPENS} then 'open' else drift.state end,
      -- A person's own exemption keeps its words.
      reason = case when ${EXEMPTS} then excluded.reason when ${REOPENS} then null else drift.reason end,
      owner = case when ${EXEMPTS} then excluded.owner when ${REOPENS} then null else drift.owner end,
      exempt_until = case when ${EXEMPTS} then excluded.exempt_until when ${REOPENS} then null else drift.exempt_until end,
      -- A drift that comes back within a day is the same episode: one story, one alert.
      episode = drift.episode + (drift.state = 'resolved' and drift.resolved_at < now() - interval '24 hours')::int,
      reopened_count = drift.reopened_count + (drift.state = 'resolved')::int,
      transition_at = case when (${EXEMPTS} and drift.state <> 'exempt') or ${REOPENS} then now() else drift.transition_at end,
      transition_actor = case when ${EXEMPTS} then '${POLICY_ACTOR}' when ${REOPENS} then 'trueup' else drift.transition_actor end,
      resolution_cause = case when drift.state = 'resolved' then null else drift.resolution_cause end,
      resolved_at = null,
      revision = drift.revision + 1
    returning state <> 'exempt' and (first_run_id = $1 or (transition_at = now() and transition_actor = 'trueup')) as appeared)
  select count(*) filter (where appeared)::text as appeared from merged`;

export interface PolicyTotals {
  /** Open or acknowledged. */
  readonly open: number;
  readonly exempt: number;
  readonly kinds: readonly Omit<KindCount, 'appeared'>[];
  readonly valueAtRisk: readonly AssetTotal[];
}

export async function policyTotals(em: EntityManager, policy: string): Promise<PolicyTotals> {
  const states = await sql<{ open: string; exempt: string }>(
    em,
    `select count(*) filter (where state in ('open', 'acknowledged'))::text as open,
       count(*) filter (where state = 'exempt')::text as exempt
     from trueup.drifts where policy = $1 and state <> 'resolved'`,
    [policy],
  );
  const kinds = await sql<{ kind: DriftKind; open: string }>(
    em,
    `select kind, count(*)::text as open from trueup.drifts cross join unnest(kinds) as kind
     where policy = $1 and state in ('open', 'acknowledged') group by kind order by kind`,
    [policy],
  );
  const values = await sql<{ asset: string; amount: string; count: string }>(
    em,
    `select asset, coalesce(sum(value_at_risk), 0)::text as amount, count(*)::text as count from trueup.drifts
     where policy = $1 and state in ('open', 'acknowledged') group by asset order by asset`,
    [policy],
  );
  return {
    open: Number(states[0]!.open),
    exempt: Number(states[0]!.exempt),
    kinds: kinds.map((row) => ({ kind: row.kind, open: Number(row.open) })),
    valueAtRisk: values.map((row) => ({ asset: row.asset, amount: BigInt(row.amount), count: Number(row.count) })),
  };
}
