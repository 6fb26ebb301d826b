// Balances as the ledger side knows them: an opening and every leg up to a ledger, fees included, for thousands of pairs at once.
import type { EntityManager } from '@mikro-orm/postgresql';
import { chooseBasis, coveredSince, type BalanceBasis, type BalanceState, type LegPosition } from '../core/balance.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { coverageByAccount } from './coverage-lists.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';

/** Pairs of one call; a larger scope is asked for in parts. */
export const MAX_BALANCE_PAIRS = 5_000;

export interface BalancePair {
  readonly account: string;
  readonly asset: string;
  /** Inclusive: the balance at the close of this ledger. */
  readonly asOfLedger: number;
}

export interface PairBalance extends BalancePair {
  /** Minor units. Where it isn't derived: the sum of what is known, never to be compared. */
  readonly amount: bigint;
  readonly state: BalanceState;
  /** Why it is underived, as the sources named it; empty otherwise. */
  readonly reasons: readonly string[];
  /** Ledger of the snapshot that was counted from; null where none was used. */
  readonly openingLedger: number | null;
  readonly openingAmount: bigint | null;
  /** Of the snapshot. */
  readonly openingSource: string | null;
  readonly openingRecordedAt: Date | null;
  /** Sum of the legs that were added; of a later snapshot, taken away. */
  readonly legsAmount: bigint;
  readonly legCount: number;
  /** What would have to be covered to derive it, half-open; empty where it is derived. */
  readonly missing: readonly LedgerRange[];
}

/**
 * The balances of pairs, each at the close of its own ledger, in the order given.
 *
 * Coverage is read first and entries are written together with it, so whatever is covered is counted whole, also outside a
 * transaction.
 *
 * @throws TrueUpError TOO_MANY_ROWS for more than MAX_BALANCE_PAIRS pairs.
 */
export async function balancesOfPairs(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  pairs: readonly BalancePair[],
): Promise<PairBalance[]> {
  if (pairs.length > MAX_BALANCE_PAIRS) {
    throw new TrueUpError('TOO_MANY_ROWS', `${pairs.length} balances at once; ask for at most ${MAX_BALANCE_PAIRS}`);
  }
  if (pairs.length === 0) return [];
  const coverage = await coverageByAccount(
    em,
    streamId,
    layer,
    pairs.map((pair) => pair.account),
  );
  const openings = await readOpenings(em, streamId, pairs);
  const doneOf = (pair: BalancePair) => coverage.get(pair.account) ?? [];
  const factsOf = (pair: BalancePair, i: number, createdAt: LegPosition | null) => ({
    asOfLedger: pair.asOfLedger,
    done: doneOf(pair),
    openingLedger: openings[i]?.ledger ?? null,
    createdAt,
  });
  const chosen = pairs.map((pair, i) => chooseBasis(factsOf(pair, i, null)));
  // Looking for an account's creation reads its legs, so only those are asked that nothing else derives.
  const unfounded = [...pairs.keys()].filter((i) => chosen[i]!.missing.length > 0 && beginsWithItsAccount(pairs[i]!));
  const creations = await readCreations(
    em,
    streamId,
    layer,
    unfounded.map((i) => ({ ...pairs[i]!, since: coveredSince(doneOf(pairs[i]!), pairs[i]!.asOfLedger) })),
  );
  unfounded.forEach((i, at) => {
    if (creations[at]) chosen[i] = chooseBasis(factsOf(pairs[i]!, i, creations[at]));
  });
  const sums = await sumLegs(
    em,
    streamId,
    layer,
    pairs.map((pair, i) => spanOf(pair, chosen[i]!.basis)),
  );
  const touches = layer === 'operations' ? await readTouches(em, streamId, pairs) : new Map<string, Touch[]>();
  return pairs.map((pair, i) =>
    toBalance(pair, chosen[i]!, openings[i] ?? null, sums[i]!, touches.get(pair.account) ?? []),
  );
}

interface Opening {
  readonly ledger: number;
  readonly amount: bigint;
  readonly source: string;
  readonly recordedAt: Date;
}

interface Touch {
  readonly reason: string;
  readonly firstLedger: number;
}

function toBalance(
  pair: BalancePair,
  { basis, missing }: ReturnType<typeof chooseBasis>,
  opening: Opening | null,
  legs: { amount: bigint; count: number },
  touches: readonly Touch[],
): PairBalance {
  const used = openingLedgerOf(basis) === null ? null : opening;
  const counted = Math.max(pair.asOfLedger, used?.ledger ?? 0);
  const reasons = touches.filter((touch) => touch.firstLedger <= counted).map((touch) => touch.reason);
  const amount = basis.from === 'backwards' ? -legs.amount : legs.amount;
  return {
    ...pair,
    amount: (used?.amount ?? 0n) + amount,
    // No opening would help an account whose movements can't be seen: that is said first.
    state: reasons.length > 0 ? 'underived' : basis.from === 'none' ? 'no_opening' : 'derived',
    reasons,
    openingLedger: used?.ledger ?? null,
    openingAmount: used?.amount ?? null,
    openingSource: used?.source ?? null,
    openingRecordedAt: used?.recordedAt ?? null,
    legsAmount: amount,
    legCount: legs.count,
    missing,
  };
}

function openingLedgerOf(basis: BalanceBasis): number | null {
  if (basis.from === 'opening' || basis.from === 'backwards') return basis.ledger;
  return basis.from === 'none' ? basis.opening : null;
}

/**
 * Trustlines live no longer than their account, so its creation is the beginning of its lumens and of its classic assets. A
 * contract's token is kept by the contract and may be older.
 */
function beginsWithItsAccount(pair: BalancePair): boolean {
  return pair.account.startsWith('G') && !pair.asset.startsWith('C');
}

interface LegSpan {
  readonly account: string;
  readonly asset: string;
  /** Where counting begins; the position is inside. */
  readonly from: LegPosition;
  /** Inclusive. */
  readonly toLedger: number;
  /** Fees of the first ledger were taken before its transactions, so from an account that was there before. */
  readonly skipsFirstFees: boolean;
}

function spanOf(pair: BalancePair, basis: BalanceBasis): LegSpan {
  const span = (ledger: number, toLedger: number): LegSpan => ({
    account: pair.account,
    asset: pair.asset,
    from: { ledger, txIndex: 0, opIndex: 0 },
    toLedger,
    skipsFirstFees: false,
  });
  switch (basis.from) {
    case 'creation':
      return { ...span(0, pair.asOfLedger), from: basis.at, skipsFirstFees: true };
    case 'opening':
      return span(basis.ledger + 1, pair.asOfLedger);
    case 'backwards':
      return span(pair.asOfLedger + 1, basis.ledger);
    case 'genesis':
      return span(0, pair.asOfLedger);
    case 'none':
      return span(basis.opening === null ? 0 : basis.opening + 1, pair.asOfLedger);
  }
}

/**
 * A lateral sum walks each pair's own part of entries_by_account whatever the planner thinks of the arrays' sizes: 5,000
 * pairs with 46 legs each take about 0.3 s on two cores. The layer is hidden in a sum because the primary key begins with it:
 * on a table without statistics that index was taken instead, and the same call didn't end within a minute.
 */
async function sumLegs(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  spans: readonly LegSpan[],
): Promise<{ amount: bigint; count: number }[]> {
  const rows = await sql<{ amount: string; count: string }>(
    em,
    `select legs.amount::text as amount, legs.count
     from unnest($3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::boolean[], $9::int[])
       with ordinality as pair (account, asset, ledger, tx_index, op_index, skips_fees, to_ledger, at)
     cross join lateral (
       select coalesce(sum(amount), 0) as amount, count(*) as count from trueup.entries e
       where e.stream_id = $1 and e.layer + 0 = $2 and e.account = pair.account and e.asset = pair.asset
         and e.ledger between pair.ledger and pair.to_ledger
         and (e.ledger > pair.ledger or (e.tx_index, e.op_index) >= (pair.tx_index, pair.op_index))
         and not (pair.skips_fees and e.ledger = pair.ledger and e.kind = 'fee')) legs
     order by pair.at`,
    [
      streamId,
      LAYER_CODES[layer],
      spans.map((span) => span.account),
      spans.map((span) => span.asset),
      spans.map((span) => span.from.ledger),
      spans.map((span) => span.from.txIndex),
      spans.map((span) => span.from.opIndex),
      spans.map((span) => span.skipsFirstFees),
      spans.map((span) => span.toLedger),
    ],
  );
  return rows.map((row) => ({ amount: BigInt(row.amount), count: Number(row.count) }));
}

async function readOpenings(
  em: EntityManager,
  streamId: number,
  pairs: readonly BalancePair[],
): Promise<(Opening | null)[]> {
  const rows = await sql<{ ledger: number | null; amount: string; label: string; recorded_at: string }>(
    em,
    `select o.ledger, o.amount::text as amount, s.label, o.recorded_at
     from unnest($2::text[], $3::text[]) with ordinality as pair (account, asset, at)
     left join trueup.opening_balances o on o.stream_id = $1 and o.account = pair.account and o.asset = pair.asset
     left join trueup.sources s on s.id = o.source_id
     order by pair.at`,
    [streamId, pairs.map((pair) => pair.account), pairs.map((pair) => pair.asset)],
  );
  return rows.map((row) =>
    row.ledger === null
      ? null
      : { ledger: row.ledger, amount: BigInt(row.amount), source: row.label, recordedAt: new Date(row.recorded_at) },
  );
}

/**
 * The newest creation of each account between the beginning of its coverage and its ledger. A sponsored account is created with
 * nothing: then the second of the two legs is the created one's.
 */
async function readCreations(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  wanted: readonly (BalancePair & { since: number | null })[],
): Promise<(LegPosition | null)[]> {
  if (wanted.length === 0) return [];
  const rows = await sql<{ ledger: number | null; tx_index: number; op_index: number }>(
    em,
    `select leg.ledger, leg.tx_index, leg.op_index
     from unnest($3::text[], $4::int[], $5::int[]) with ordinality as wanted (account, since, as_of, at)
     left join lateral (
       select ledger, tx_index, op_index from trueup.entries e
       where e.stream_id = $1 and e.layer + 0 = $2 and e.account = wanted.account and e.asset = 'native'
         and e.kind = 'create_account' and not e.failed and (e.amount > 0 or (e.amount = 0 and e.leg = 1))
         and e.ledger between wanted.since and wanted.as_of
       order by ledger desc, tx_index desc, op_index desc limit 1) leg on true
     order by wanted.at`,
    [
      streamId,
      LAYER_CODES[layer],
      wanted.map((each) => each.account),
      wanted.map((each) => each.since),
      wanted.map((each) => each.asOfLedger),
    ],
  );
  return rows.map((row) =>
    row.ledger === null ? null : { ledger: row.ledger, txIndex: row.tx_index, opIndex: row.op_index },
  );
}

async function readTouches(
  em: EntityManager,
  streamId: number,
  pairs: readonly BalancePair[],
): Promise<Map<string, Touch[]>> {
  const rows = await sql<{ account: string; reason: string; first_ledger: number }>(
    em,
    `select account, reason, first_ledger from trueup.underived_accounts
     where stream_id = $1 and account = any($2::text[]) order by account, reason`,
    [streamId, [...new Set(pairs.map((pair) => pair.account))]],
  );
  const touches = new Map<string, Touch[]>();
  for (const row of rows) {
    const known = touches.get(row.account);
    const touch = { reason: row.reason, firstLedger: row.first_ledger };
    if (known) known.push(touch);
    else touches.set(row.account, [touch]);
  }
  return touches;
}
