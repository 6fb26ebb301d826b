// The oracle: what a comparison must say, told slowly. Maps and nested loops; nothing of the engine's own code is in it.
//
// Rows of a key are paired from the most alike to the least. Where legs are added up, one account and asset of a key is one
// amount; a try that failed is no part of it, and a row that repeats a part is a duplicate. Movements without a key are
// known by their account, asset, amount and sub-account, and are paired in the order of time. Time decides who may be accused.
import { inOrder, isRepeat, isSlot, kind, pairAlike, pairInTime, type Side } from './naive-pairs.ts';
import { keyIn, KINDS_APART, type Row, type World } from './world.ts';

export interface Said {
  /** By key, sorted: class, kinds and amounts of each pair or row left over. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
  readonly verdict: string;
}

const MEANINGS: Readonly<Record<string, string>> = {
  success: 'success',
  completed: 'success',
  paid: 'success',
  failed: 'failed',
  error: 'failed',
  rejected: 'failed',
  pending: 'pending',
  submitted: 'pending',
};
/** What must be said of the two sides as they are. */
export function oracle(world: World, inconclusive: boolean): Said {
  const keys = new Map<string, string[]>();
  let drifts = 0;
  const [legs, rows] = [world.ledger, world.book].map((side) => byKey(world, side));
  for (const key of new Set([...legs!.keys(), ...rows!.keys()])) {
    const ledger = (legs!.get(key) ?? []).map((row) => sideOf(world, row, true));
    const book = (rows!.get(key) ?? []).map((row) => sideOf(world, row, false));
    const said = compare(world, ledger, book);
    drifts += said.filter((each) => each.startsWith('drift')).length;
    if (said.length > 0) keys.set(key, said.sort());
  }
  return { keys, verdict: inconclusive ? 'INCONCLUSIVE' : drifts > 0 ? 'DRIFT_DETECTED' : 'CLEAN' };
}

function byKey(world: World, side: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of side) {
    const key = keyIn(world, row);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return groups;
}

function sideOf(world: World, row: Row, isLedger: boolean): Side {
  const inScope =
    (world.scope === null || world.scope.has(row.account)) &&
    (isLedger || world.isBetweenSides || !KINDS_APART.has(row.kind));
  const word = row.status?.toLowerCase() ?? null;
  const isOwn = world.isBetweenSides;
  return {
    row,
    inScope,
    isOwn,
    means: isLedger && !isOwn ? word! : word === null ? 'success' : (MEANINGS[word] ?? 'unknown'),
  };
}

function compare(world: World, ledger: Side[], book: Side[]): string[] {
  const said: string[] = [];
  const tell = (l: Side | null, b: Side | null, isRepeated: boolean): void => {
    if (!l?.inScope && !b?.inScope) return;
    const { isInside = () => true } = world;
    if (!(l && isInside(l.row, 'ledger')) && !(b && isInside(b.row, 'book'))) return;
    const what = l && b ? judgePair(world, l, b) : l ? judgeLeg(world, l, isRepeated) : judgeRow(world, b!, isRepeated);
    if (what !== null) said.push(`${what} ${l?.row.amount ?? '-'}/${b?.row.amount ?? '-'}`);
  };
  let [legs, rows] = [ledger, book];
  if (world.join === 'tx_hash') {
    const apart: Side[] = [];
    [legs, rows] = [addUpLegs(ledger), addUpRows(ledger, book, apart)];
    for (const row of apart) tell(null, row, true);
  }
  const repeats = world.join === 'sub_account';
  const pairs = repeats ? pairInTime(legs, rows) : pairAlike(legs, rows);
  for (const [leg, row] of pairs) tell(leg, row, false);
  // Where many movements share a key, one more is one more, and not the same again.
  for (const leg of legs.filter((each) => !pairs.some(([paired]) => paired === each)))
    tell(leg, null, !repeats && pairs.some(([paired]) => isRepeat(paired, leg)));
  for (const row of rows.filter((each) => !pairs.some(([, paired]) => paired === each)))
    tell(null, row, !repeats && pairs.some(([, paired]) => isRepeat(paired, row)));
  return said;
}

/** A share is taken of the ledger's amount, and of a minor unit nothing is given away. */
function isWithin({ tolerances }: World, { asset, amount }: Row, other: bigint): boolean {
  const rule = tolerances.find((each) => each.asset === asset) ?? tolerances.find((each) => each.asset === '*');
  const [high, low] = amount > other ? [amount, other] : [other, amount];
  if (rule === undefined) return high === low;
  if (rule.minor !== null) return low + rule.minor >= high;
  return (high - low) * 10_000n <= (amount < 0n ? -amount : amount) * BigInt(rule.basisPoints!);
}

function judgePair(world: World, leg: Side, row: Side): string {
  const kinds = new Set<string>();
  const [l, b] = [leg.row, row.row];
  if (l.account !== b.account) kinds.add('ACCOUNT_MISMATCH');
  if (l.asset !== b.asset) kinds.add('ASSET_MISMATCH');
  if (leg.means !== 'failed' && !isWithin(world, l, b.amount)) kinds.add('AMOUNT_MISMATCH');
  if (kind(leg) !== '' && kind(row) !== '' && kind(leg) !== kind(row)) kinds.add('TYPE_MISMATCH');
  // Words that mean nothing agree where they are the same.
  if (leg.means !== row.means || (row.means === 'unknown' && l.status !== b.status)) kinds.add('STATUS_MISMATCH');
  if (l.counterparty !== null && b.counterparty !== null && l.counterparty !== b.counterparty)
    kinds.add('ACCOUNT_MISMATCH');
  if (b.subAccount !== null && b.subAccount !== l.subAccount) kinds.add('ACCOUNT_MISMATCH');
  if (world.toleranceMs !== null && l.atMs !== null && b.atMs !== null)
    if (Math.abs(l.atMs - b.atMs) > world.toleranceMs) kinds.add('TIME_MISMATCH');
  if (kinds.size === 0) return 'matched';
  const isOnlyLate = kinds.size === 1 && kinds.has('STATUS_MISMATCH') && row.means === 'pending';
  const isFresh = l.atMs! > world.facts.cutAtMs - world.facts.grace.missingInDbMs;
  return `${isOnlyLate && isFresh ? 'pending' : 'drift'} ${[...kinds].sort().join('+')}`;
}

function judgeLeg(world: World, { row, means: status }: Side, isRepeated: boolean): string | null {
  if (status === 'failed') return null;
  const { facts } = world;
  if (world.isBetweenSides) {
    if (isRepeated) return 'drift DUPLICATE_ON_LEDGER';
    return `${judgeAlone(facts, row, facts.bookCompleteThroughMs, facts.grace.missingInDbMs)} MISSING_IN_DB`;
  }
  const isFresh = row.atMs! > facts.cutAtMs - facts.grace.missingInDbMs;
  const isLate = facts.bookCompleteThroughMs === null || row.atMs! > facts.bookCompleteThroughMs;
  return `${isFresh || isLate ? 'pending' : 'drift'} ${isRepeated ? 'DUPLICATE_ON_LEDGER' : 'MISSING_IN_DB'}`;
}

/** A row of one side that is no stream, as far as the other says that it is complete. */
function judgeAlone({ cutAtMs }: World['facts'], row: Row, throughMs: number | null, graceMs: number): string {
  if (throughMs === null) return 'skipped';
  const isYoung = row.atMs !== null && (row.atMs + graceMs > cutAtMs || row.atMs > throughMs);
  return isYoung ? 'pending' : 'drift';
}

function judgeRow(world: World, { row, means: status }: Side, isRepeated: boolean): string | null {
  if (status === 'failed') return null;
  if (isRepeated) return 'drift DUPLICATE_IN_DB';
  const { facts } = world;
  // The oracle's other side is complete to the cut.
  if (world.isBetweenSides)
    return `${judgeAlone(facts, row, facts.cutClosedMs, facts.grace.missingOnLedgerMs)} MISSING_ON_LEDGER`;
  const { ledger, atMs } = row;
  const isPast = ledger !== null && ledger <= facts.headLedger;
  const wasRead = facts.covered.some((range) => ledger !== null && ledger >= range.from && ledger < range.to);
  const isFresh = atMs !== null && atMs > facts.cutClosedMs - facts.grace.missingOnLedgerMs;
  const isInHole = facts.missingTimes.some((gap) => atMs !== null && atMs >= gap.fromMs && atMs <= gap.toMs);
  const judged = (): string => {
    if (isPast && !wasRead) return 'skipped';
    if (atMs === null && ledger === null) return facts.wholeHistory ? 'drift' : 'skipped';
    if (atMs === null) return isPast ? 'drift' : 'pending';
    if (isFresh) return 'pending';
    return !isPast && isInHole ? 'skipped' : 'drift';
  };
  return `${judged()} MISSING_ON_LEDGER`;
}

/** By account and asset, and whether they are asked about. */
function slots(sides: readonly Side[]): Side[][] {
  const groups: Side[][] = [];
  for (const side of sides) {
    const group = groups.find(([first]) => isSlot(first!, side) && first!.inScope === side.inScope);
    if (group) group.push(side);
    else groups.push([side]);
  }
  return groups;
}

function addUpLegs(legs: readonly Side[]): Side[] {
  return slots(legs).map((group) =>
    addUp(inOrder(group), group.some((leg) => leg.means === 'success') ? 'success' : 'failed'),
  );
}

function addUpRows(legs: readonly Side[], rows: readonly Side[], apart: Side[]): Side[] {
  return slots(rows).map((group) => {
    const moved = group.filter((row) => row.means !== 'failed');
    if (moved.length > 0) apart.push(...group.filter((row) => row.means === 'failed'));
    const counted = inOrder(moved.length > 0 ? moved : group);
    const parts = slots(legs).find(([leg]) => isSlot(leg!, group[0]!) && leg!.inScope === group[0]!.inScope);
    const repeats = parts
      ? repeatsIn(
          counted,
          parts.map((leg) => leg.row.amount),
        )
      : [];
    apart.push(...repeats);
    const kept = counted.filter((row) => !repeats.includes(row));
    return addUp(
      kept,
      ['unknown', 'pending', 'success', 'failed'].find((word) => kept.some((row) => row.means === word))!,
    );
  });
}

/** Rows that say again what others say already; none where the whole is right, or the parts aren't all there. */
function repeatsIn(rows: readonly Side[], parts: readonly bigint[]): Side[] {
  const whole = parts.reduce((sum, part) => sum + part, 0n);
  if (rows.length < 2 || rows.reduce((sum, { row }) => sum + row.amount, 0n) === whole) return [];
  const wanted = rows.some(({ row }) => row.amount === whole) ? [whole] : [...parts];
  const isPart = new Set(wanted);
  const repeats: Side[] = [];
  // One that says it went through is the one that is kept.
  for (const row of [...rows].sort((a, b) => Number(b.means === 'success') - Number(a.means === 'success'))) {
    const at = wanted.indexOf(row.row.amount);
    if (at >= 0) wanted.splice(at, 1);
    else if (isPart.has(row.row.amount)) repeats.push(row);
  }
  return wanted.length === 0 ? repeats : [];
}

function addUp(group: readonly Side[], status: string): Side {
  const [{ row, inScope }] = group as [Side];
  const shared = <Field extends 'kind' | 'counterparty' | 'subAccount'>(field: Field): Row[Field] | null =>
    group.every((each) => each.row[field] === row[field]) ? row[field] : null;
  return {
    row: {
      ...row,
      amount: group.reduce((sum, each) => sum + each.row.amount, 0n),
      kind: shared('kind'),
      counterparty: shared('counterparty'),
      subAccount: shared('subAccount'),
    },
    inScope,
    isOwn: group[0]!.isOwn,
    means: status,
  };
}
