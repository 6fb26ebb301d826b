// Drifts: made of a run's findings in one transaction, with one identity through all runs.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Drift, DriftField, DriftFilter, DriftKind, DriftSide, DriftState, ResolutionCause } from '../core/drift.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import type { Level } from '../core/policy.ts';
import type { AssetTotal, KindCount } from '../core/run.ts';
import { listOrNull, sql, sqlCount, toDate, toDateOrNull } from './database.ts';
import { fromJson, toJson } from './json.ts';

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
}

export async function insertFindings(em: EntityManager, runId: string, findings: readonly FindingRow[]): Promise<void> {
  if (findings.length === 0) return;
  await sqlCount(
    em,
    `insert into trueup.run_findings (run_id, match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset,
       value_at_risk, item_at)
     select $1, match_key, occurrence, string_to_array(kinds, ','), fields, ledger_side, book_side, account, asset, value_at_risk, item_at
     from unnest($2::text[], $3::int[], $4::text[], $5::jsonb[], $6::jsonb[], $7::jsonb[], $8::text[], $9::text[],
       $10::numeric[], $11::timestamptz[])
       as finding (match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset, value_at_risk, item_at)
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
    ],
  );
}

export async function deleteFindings(em: EntityManager, runId: string): Promise<void> {
  await sqlCount(em, `delete from trueup.run_findings where run_id = $1`, [runId]);
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
  afterKey: string,
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ match_key: string }>(
    em,
    `select distinct match_key from trueup.drifts as drift
     where policy = $1 and state <> 'resolved' and match_key > $3
       and not exists (select 1 from trueup.run_findings as finding
         where finding.run_id = $2 and finding.match_key = drift.match_key and finding.occurrence = drift.occurrence)
     order by match_key limit $4`,
    [policy, runId, afterKey, limit],
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
  return rows.map((row) => ({ matchKey: row.match_key, occurrence: row.occurrence, account: row.account, asset: row.asset }));
}

export interface MergeTarget {
  readonly runId: string;
  readonly policy: string;
  readonly level: Level;
  readonly stream: string | null;
  readonly sandbox: boolean;
}

export interface MergeResult {
  /** Drifts that this run found for the first time or reopened. */
  readonly appeared: number;
  readonly resolved: number;
  /** Each kind once for each drift in which it is new: what `reconciliation_drift_total` counts. */
  readonly appearedKinds: ReadonlyMap<DriftKind, number>;
}

/**
 * Makes drifts of a run's findings: new ones open, known ones are refreshed, resolved ones reopen in place, and those whose sides
 * were read again and agree are resolved. Nothing is resolved by leaving the window.
 */
export async function mergeFindings(em: EntityManager, target: MergeTarget): Promise<MergeResult> {
  const kinds = await sql<{ kind: DriftKind; count: string }>(
    em,
    `select kind, count(*)::text as count from trueup.run_findings as finding
       left join trueup.drifts as drift on drift.policy = $2 and drift.match_key = finding.match_key
         and drift.occurrence = finding.occurrence
       cross join unnest(finding.kinds) as kind
     where finding.run_id = $1 and (drift.id is null or drift.state = 'resolved' or not kind = any(drift.kinds))
     group by kind`,
    [target.runId, target.policy],
  );
  const merged = await sql<{ appeared: string }>(em, MERGE_SQL, [
    target.runId,
    target.policy,
    target.level,
    target.stream,
    target.sandbox,
  ]);
  const resolved = await sqlCount(
    em,
    `update trueup.drifts as drift set state = 'resolved', resolution_cause = 'sides_agree', resolved_at = now(),
       transition_at = now(), transition_actor = 'trueup', last_run_id = $1, revision = revision + 1
     from trueup.run_findings as finding
     where finding.run_id = $1 and finding.kinds = '{}' and drift.policy = $2 and drift.state <> 'resolved'
       and drift.match_key = finding.match_key and drift.occurrence = finding.occurrence`,
    [target.runId, target.policy],
  );
  return {
    appeared: Number(merged[0]!.appeared),
    resolved,
    appearedKinds: new Map(kinds.map((row) => [row.kind, Number(row.count)])),
  };
}

// The id is made of the identity, so that two databases that saw the same drift call it the same.
const MERGE_SQL = `
  with merged as (
    insert into trueup.drifts as drift (id, policy, level, stream, sandbox, match_key, occurrence, kinds, fields, ledger_side,
      book_side, account, asset, value_at_risk, state, item_at, first_seen_at, last_seen_at, first_run_id, last_run_id)
    select left(encode(sha256(convert_to(concat_ws(chr(31), $2::text, match_key, occurrence), 'UTF8')), 'hex'), 32)::uuid,
      $2, $3, $4, $5, match_key, occurrence, kinds, fields, ledger_side, book_side, account, asset, value_at_risk, 'open',
      item_at, now(), now(), $1, $1
    from trueup.run_findings where run_id = $1 and kinds <> '{}'
    on conflict (policy, match_key, occurrence) do update set
      kinds = excluded.kinds, fields = excluded.fields, ledger_side = excluded.ledger_side, book_side = excluded.book_side,
      account = excluded.account, asset = excluded.asset, value_at_risk = excluded.value_at_risk, item_at = excluded.item_at,
      stream = excluded.stream, sandbox = excluded.sandbox, last_seen_at = now(), last_run_id = $1,
      seen_runs = case when drift.state = 'resolved' then 1 else drift.seen_runs + 1 end,
      state = case when drift.state = 'resolved' then 'open' else drift.state end,
      -- A drift that comes back within a day is the same episode: one story, one alert.
      episode = drift.episode + (drift.state = 'resolved' and drift.resolved_at < now() - interval '24 hours')::int,
      reopened_count = drift.reopened_count + (drift.state = 'resolved')::int,
      transition_at = case when drift.state = 'resolved' then now() else drift.transition_at end,
      transition_actor = case when drift.state = 'resolved' then 'trueup' else drift.transition_actor end,
      resolution_cause = case when drift.state = 'resolved' then null else drift.resolution_cause end,
      resolved_at = null,
      revision = drift.revision + 1
    returning (first_run_id = $1 or (transition_at = now() and transition_actor = 'trueup')) as appeared)
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

interface DriftRow {
  id: string;
  policy: string;
  level: Level;
  stream: string | null;
  sandbox: boolean;
  match_key: string;
  occurrence: number;
  kinds: string;
  fields: unknown;
  ledger_side: unknown;
  book_side: unknown;
  account: string;
  asset: string;
  value_at_risk: string | null;
  state: DriftState;
  resolution_cause: ResolutionCause | null;
  assignee: string | null;
  reason: string | null;
  owner: string | null;
  exempt_until: string | null;
  item_at: string | null;
  first_seen_at: string;
  last_seen_at: string;
  first_run_id: string;
  last_run_id: string;
  episode: number;
  reopened_count: number;
  transition_at: string | null;
  transition_actor: string | null;
  revision: number;
}

const DRIFT_COLUMNS = `id, policy, level, stream, sandbox, match_key, occurrence, array_to_string(kinds, ',') as kinds, fields,
  ledger_side, book_side, account, asset, value_at_risk::text as value_at_risk, state, resolution_cause, assignee, reason, owner,
  exempt_until, item_at, first_seen_at, last_seen_at, first_run_id, last_run_id, episode, reopened_count, transition_at,
  transition_actor, revision`;

const DRIFT_FILTER_SQL = `($1::text is null or policy = $1) and ($2::text is null or level = $2)
  and ($3::text[] is null or state = any($3)) and ($4::text[] is null or kinds && $4)
  and ($5::text[] is null or account = any($5) or ledger_side->>'account' = any($5) or book_side->>'account' = any($5))
  and ($6::text[] is null or asset = any($6) or ledger_side->>'asset' = any($6) or book_side->>'asset' = any($6))
  and ($7::uuid is null or last_run_id = $7 or first_run_id = $7)
  and ($8::text is null or match_key = $8) and ($9::text is null or assignee = $9)
  and ($10::int is null or (ledger_side->>'ledger')::int >= $10) and ($11::int is null or (ledger_side->>'ledger')::int < $11)
  and ($12::timestamptz is null or first_seen_at >= $12) and ($13::timestamptz is null or first_seen_at < $13)`;
const FILTER_VALUES = 13;

function filterValues(filter: DriftFilter): unknown[] {
  return [
    filter.policy ?? null,
    filter.level ?? null,
    listOrNull(filter.states),
    listOrNull(filter.kinds),
    listOrNull(filter.accounts),
    listOrNull(filter.assets),
    filter.runId ?? null,
    filter.matchKey ?? null,
    filter.assignee ?? null,
    filter.ledgers?.from ?? null,
    filter.ledgers?.to ?? null,
    filter.firstSeenFrom ?? null,
    filter.firstSeenTo ?? null,
  ];
}

/** Newest first. The total is counted with the first page only. */
export async function listDrifts(em: EntityManager, filter: DriftFilter, page: PageRequest): Promise<Page<Drift>> {
  const rows = await sql<DriftRow>(
    em,
    `select ${DRIFT_COLUMNS} from trueup.drifts where ${DRIFT_FILTER_SQL}
       and ($${FILTER_VALUES + 1}::timestamptz is null
         or (first_seen_at, id) < ($${FILTER_VALUES + 1}::timestamptz, $${FILTER_VALUES + 2}::uuid))
     order by first_seen_at desc, id desc limit $${FILTER_VALUES + 3}`,
    [...filterValues(filter), page.after?.firstSeenAt ?? null, page.after?.id ?? null, page.size + 1],
  );
  const result = pageOf(rows, page.size, (row) => ({ firstSeenAt: row.first_seen_at, id: row.id }), toDrift);
  return page.after === null ? { ...result, totalSize: await countDrifts(em, filter) } : result;
}

async function countDrifts(em: EntityManager, filter: DriftFilter): Promise<number> {
  const rows = await sql<{ count: string }>(
    em,
    `select count(*)::text as count from trueup.drifts where ${DRIFT_FILTER_SQL}`,
    filterValues(filter),
  );
  return Number(rows[0]!.count);
}

export async function getDrift(em: EntityManager, id: string): Promise<Drift | null> {
  const rows = await sql<DriftRow>(em, `select ${DRIFT_COLUMNS} from trueup.drifts where id = $1`, [id]);
  return rows[0] ? toDrift(rows[0]) : null;
}

function toDrift(row: DriftRow): Drift {
  return {
    id: row.id,
    policy: row.policy,
    level: row.level,
    stream: row.stream,
    sandbox: row.sandbox,
    matchKey: row.match_key,
    occurrence: row.occurrence,
    kinds: row.kinds.split(',') as DriftKind[],
    fields: fromJson<DriftField[]>(row.fields),
    ledgerSide: row.ledger_side === null ? null : fromJson<DriftSide>(row.ledger_side),
    bookSide: row.book_side === null ? null : fromJson<DriftSide>(row.book_side),
    account: row.account,
    asset: row.asset,
    valueAtRisk: row.value_at_risk === null ? null : BigInt(row.value_at_risk),
    state: row.state,
    resolutionCause: row.resolution_cause,
    assignee: row.assignee,
    reason: row.reason,
    owner: row.owner,
    exemptUntil: toDateOrNull(row.exempt_until),
    itemAt: toDateOrNull(row.item_at),
    firstSeenAt: toDate(row.first_seen_at),
    lastSeenAt: toDate(row.last_seen_at),
    firstRunId: row.first_run_id,
    lastRunId: row.last_run_id,
    episode: row.episode,
    reopenedCount: row.reopened_count,
    transitionAt: toDateOrNull(row.transition_at),
    transitionActor: row.transition_actor,
    revision: row.revision,
  };
}
