// Drifts as rows: listed by keyset, read by id. What makes them is in findings.ts.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isUuid, NOBODYS_UUID } from '../core/ids.ts';
import type {
  Drift,
  DriftField,
  DriftFilter,
  DriftKind,
  DriftSide,
  DriftState,
  ResolutionCause,
} from '../core/drift.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import type { Level } from '../core/policy.ts';
import { listOrNull, sql, toDate, toDateOrNull } from './database.ts';
import { standingCount } from './drift-counts.ts';
import { fromJson } from './json.ts';

export interface DriftRow {
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

export const DRIFT_COLUMNS = `id, policy, level, stream, sandbox, match_key, occurrence, array_to_string(kinds, ',') as kinds, fields,
  ledger_side, book_side, account, asset, value_at_risk::text as value_at_risk, state, resolution_cause, assignee, reason, owner,
  exempt_until, item_at, first_seen_at, last_seen_at, first_run_id, last_run_id, episode, reopened_count, transition_at,
  transition_actor, revision`;

/** What the two sides hold. */
const CONTENT_FILTER_SQL = `($4::text[] is null or kinds && $4) and ($5::text[] is null or accounts && $5)
  and ($6::text[] is null or assets && $6) and ($10::int is null or ledger >= $10) and ($11::int is null or ledger < $11)`;
const PLAIN_FILTER_SQL = `($1::text is null or policy = $1) and ($2::text is null or level = $2)
  and ($3::text[] is null or state = any($3)) and ($7::uuid is null or last_run_id = $7 or first_run_id = $7)
  and ($8::text is null or match_key = $8) and ($9::text is null or assignee = $9)
  and ($12::timestamptz is null or first_seen_at >= $12) and ($13::timestamptz is null or first_seen_at < $13)`;
const DRIFT_FILTER_SQL = `${PLAIN_FILTER_SQL} and ${CONTENT_FILTER_SQL}`;
const FILTER_VALUES = 13;
const AFTER_SQL = `($14::timestamptz is null or (first_seen_at, id) < ($14::timestamptz, $15::uuid))`;

function filterValues(filter: DriftFilter): unknown[] {
  return [
    filter.policy ?? null,
    filter.level ?? null,
    listOrNull(filter.states),
    listOrNull(filter.kinds),
    listOrNull(filter.accounts),
    listOrNull(filter.assets),
    filter.runId === undefined ? null : isUuid(filter.runId) ? filter.runId : NOBODYS_UUID,
    filter.matchKey ?? null,
    filter.assignee ?? null,
    filter.ledgers?.from ?? null,
    filter.ledgers?.to ?? null,
    filter.firstSeenFrom ?? null,
    filter.firstSeenTo ?? null,
  ];
}

/** Counting goes no further than this where drifts have to be looked at one by one. */
const MAX_COUNTED_DRIFTS = 1_000;

/** Newest first. The total is counted with the first page only. */
export async function listDrifts(em: EntityManager, filter: DriftFilter, page: PageRequest): Promise<Page<Drift>> {
  const result = await pageOfDrifts(em, filter, page);
  return page.after === null ? { ...result, totalSize: await countDrifts(em, filter) } : result;
}

/** So many are gone through in order before drifts are gathered by what they hold instead. */
const NEAR_DRIFTS = 10_000;

/** As `listDrifts`, never counted. */
export async function pageOfDrifts(em: EntityManager, filter: DriftFilter, page: PageRequest): Promise<Page<Drift>> {
  // What many drifts hold is found among the next ones in order; what few hold is gathered by an index and then put in order.
  // Which of the two it is the planner can't know, and being wrong costs it a walk through a million rows.
  const near = hasContent(filter) ? await readDrifts(em, filter, page, 'near') : [];
  const rows =
    near.length > page.size ? near : await readDrifts(em, filter, page, hasContent(filter) ? 'gathered' : 'planned');
  return pageOf(rows, page.size, (row) => ({ firstSeenAt: row.first_seen_at, id: row.id }), toDrift);
}

async function readDrifts(
  em: EntityManager,
  filter: DriftFilter,
  page: PageRequest,
  how: 'near' | 'gathered' | 'planned',
): Promise<DriftRow[]> {
  const order = 'order by first_seen_at desc, id desc';
  const source = {
    near: `(select * from trueup.drifts where ${PLAIN_FILTER_SQL} and ${AFTER_SQL} ${order} limit ${NEAR_DRIFTS}) as drift where ${CONTENT_FILTER_SQL}`,
    // OFFSET keeps the order from being looked for before there is something to order.
    gathered: `(select * from trueup.drifts where ${DRIFT_FILTER_SQL} offset 0) as drift where ${AFTER_SQL}`,
    planned: `trueup.drifts where ${DRIFT_FILTER_SQL} and ${AFTER_SQL}`,
  }[how];
  // Planned for these very values, so that what isn't asked for costs nothing and each filter finds its index.
  return sql<DriftRow>(em, `select ${DRIFT_COLUMNS} from ${source} ${order} limit $${FILTER_VALUES + 3}`, [
    ...filterValues(filter),
    page.after?.firstSeenAt ?? null,
    page.after?.id ?? null,
    page.size + 1,
  ]);
}

function hasContent({ accounts, assets, kinds, ledgers }: DriftFilter): boolean {
  return ledgers !== undefined || [accounts, assets, kinds].some((list) => list !== undefined && list.length > 0);
}

async function countDrifts(em: EntityManager, filter: DriftFilter): Promise<number> {
  const { policy = null, level = null, states, kinds, ...others } = filter;
  const isCounted = states !== undefined && states.length > 0 && !states.includes('resolved');
  if (isCounted && Object.values(others).every(selectsAll)) {
    return standingCount(em, { policy, level, states, kinds: listOrNull(kinds) });
  }
  const rows = await sql<{ count: string }>(
    em,
    `select count(*)::text as count from
       (select 1 from trueup.drifts where ${DRIFT_FILTER_SQL} limit ${MAX_COUNTED_DRIFTS}) as counted`,
    filterValues(filter),
  );
  return Number(rows[0]!.count);
}

function selectsAll(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.length === 0);
}

export async function getDrift(em: EntityManager, id: string): Promise<Drift | null> {
  if (!isUuid(id)) return null;
  const rows = await sql<DriftRow>(em, `select ${DRIFT_COLUMNS} from trueup.drifts where id = $1`, [id]);
  return rows[0] ? toDrift(rows[0]) : null;
}

export function toDrift(row: DriftRow): Drift {
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
