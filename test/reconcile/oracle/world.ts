// A made-up pair of sides that agree, from a seed: what the faults of faults.ts are then put into.
import { StrKey } from '@stellar/stellar-sdk';
import type { Item } from '../../../src/core/match.ts';
import { POLICY_DEFAULTS } from '../../../src/core/policy.ts';
import type { AmountTolerance } from '../../../src/core/tolerance.ts';
import type { AccusationFacts } from '../../../src/core/verdict.ts';
import { below, chance, hexDigits, pick, randomFrom, type Random } from '../../_util/random.ts';

/** A row of either side. */
export type Row = { key: string } & { -readonly [Field in keyof Item]: Item[Field] };

export type KeyForm = 'hash' | 'hash:op' | 'toid' | 'text';

export interface World {
  readonly seed: number;
  readonly random: Random;
  readonly join: 'operation' | 'tx_hash' | 'sub_account';
  readonly form: KeyForm;
  /** Rows of the book are written as text and parsed; keys and accounts are then those of a ledger. */
  readonly asText: boolean;
  readonly toleranceMs: number | null;
  /** Two sides that are no stream: both speak words of their own, and no ledger was read or missed. */
  readonly isBetweenSides: boolean;
  /** By how much amounts may differ; none: not at all. */
  readonly tolerances: readonly AmountTolerance[];
  readonly batchRows: number;
  /** Null: every account. */
  readonly scope: ReadonlySet<string> | null;
  readonly facts: AccusationFacts;
  /** Fields that this book doesn't have at all. */
  readonly leftOut: readonly ('kind' | 'counterparty' | 'subAccount' | 'ledger')[];
  /** Whether a row belongs to the time that a run looks at; absent: every row. */
  readonly isInside?: (row: Row, side: 'ledger' | 'book') => boolean;
  ledger: Row[];
  book: Row[];
  /** Rows made so far, for ids of their own. */
  rows: number;
  /** By key, what its one fault must lead to; null: only the oracle can tell. A key without a fault leads to nothing. */
  readonly due: Map<string, readonly string[] | null>;
  /** The faults in words. */
  readonly told: string[];
}

export const ACCOUNTS = Array.from({ length: 6 }, (_, i) =>
  StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(i + 1) as never),
);
const CONTRACT = StrKey.encodeContract(new Uint8Array(32).fill(9) as never);
export const ASSETS = ['native', `USD:${ACCOUNTS[0]}`, `usd:${ACCOUNTS[0]}`, CONTRACT];
/** Names from outside of any ledger: separators, cases, composed and decomposed letters, letters past the first 65,536. */
export const ODD_NAMES = ['a', 'a b', 'a  b', ' b', 'A', 'a|b', 'a:b', 'é', 'e\u0301', 'ß', 'SS', '😀', '𝒜', 'ﬁ', '~'];
const ODD_LETTERS = [
  'a',
  'A',
  'z',
  'Z',
  'é',
  'ß',
  ' ',
  ':',
  '|',
  '\\',
  '_',
  '-',
  '0',
  '9',
  '~',
  '😀',
  '𝒜',
  '￮',
  'ı',
  "'",
];

/** A book's rows of these kinds are no movements to compare. */
export const KINDS_APART: ReadonlySet<string | null> = new Set(['fee', 'fee_refund', 'genesis']);

const ORIGIN_MS = 1_700_000_000_000;
export const closedAtMs = (ledger: number): number => ORIGIN_MS + ledger * 5_000;
/** Ledgers of every world: history begins at FIRST, a hole of ten lies in it, and CUT is the last that was read. */
export const FIRST = 1_000;
export const HOLE = { from: 1_300, to: 1_310 };
export const CUT = 3_000;
/** Older than any grace at the cut, and before the time to which any book is complete. */
const SETTLED = { from: 1_400, to: 2_400 };
/** The book says that it is complete to here, or to the cut. */
export const COMPLETE_THROUGH = 2_900;
export const LOOKAROUND_MS = 60_000;

export function createWorld(seed: number): World {
  const random = randomFrom(seed);
  const join = pick(random, ['operation', 'tx_hash', 'sub_account'] as const);
  const form = pick(random, FORMS[join]);
  const optional = ['kind', 'counterparty', 'subAccount', 'ledger'] as const;
  const world: World = {
    seed,
    random,
    join,
    form,
    asText: form !== 'text' && chance(random, 0.5),
    toleranceMs: chance(random, 0.3) ? 60_000 : null,
    isBetweenSides: chance(random, 0.15),
    tolerances: chance(random, 0.15) ? tolerancesOf(random) : [],
    batchRows: 1 + below(random, 7),
    scope: chance(random, 0.2) ? new Set(ACCOUNTS.slice(0, 3)) : null,
    facts: factsOf(random),
    leftOut: chance(random, 0.5)
      ? []
      : // A book that is joined by it has it.
        optional.filter((field) => chance(random, 0.3) && !(join === 'sub_account' && field === 'subAccount')),
    ledger: [],
    book: [],
    rows: 0,
    due: new Map(),
    told: [],
  };
  for (let left = below(random, 5); left > 0; left--) addMovement(world);
  return world;
}

/** How a book may write the keys of a join; that by sub-account looks at no key. */
export const FORMS: Readonly<Record<World['join'], readonly KeyForm[]>> = {
  operation: ['hash:op', 'toid', 'text'],
  tx_hash: ['hash'],
  sub_account: ['hash', 'hash:op', 'toid'],
};

/** In minor units for one asset, in basis points for all others; or for that one alone. */
export function tolerancesOf(random: Random): AmountTolerance[] {
  const one = { asset: pick(random, ASSETS), minor: BigInt(below(random, 50)), basisPoints: null };
  const others = { asset: '*', minor: null, basisPoints: 1 + below(random, 300) };
  return pick(random, [[one], [others], [one, others]]);
}

function factsOf(random: Random): AccusationFacts {
  const cutClosedMs = closedAtMs(CUT);
  const hole = {
    fromMs: closedAtMs(HOLE.from - 1) - LOOKAROUND_MS,
    toMs: closedAtMs(HOLE.to) + LOOKAROUND_MS,
  };
  return {
    grace: POLICY_DEFAULTS.grace,
    // Two hours behind: what a wall clock says of the window is then wrong.
    cutAtMs: cutClosedMs + pick(random, [2_000, 7_200_000]),
    cutClosedMs,
    bookCompleteThroughMs: closedAtMs(pick(random, [COMPLETE_THROUGH, CUT])),
    covered: [
      { from: FIRST, to: HOLE.from },
      { from: HOLE.to, to: CUT + 1 },
    ],
    headLedger: CUT,
    missingTimes: [{ fromMs: 0, toMs: closedAtMs(FIRST) + LOOKAROUND_MS }, hole],
    wholeHistory: false,
  };
}

/** A key that no row has yet; `edge` puts it before or after all others. */
export function newKey(world: World, ledger: number, edge: 'first' | 'last' | null = null): string {
  const { random, form } = world;
  const taken = (key: string): boolean => [...world.ledger, ...world.book].some((row) => row.key === key);
  for (;;) {
    const hex = edge === 'first' ? '0'.repeat(56) + hexDigits(random, 8) : hexDigits(random, 64);
    const hash = edge === 'last' ? 'f'.repeat(56) + hex.slice(56) : hex;
    const key = {
      hash,
      'hash:op': `${hash}:${1 + below(random, 12)}`,
      toid: String((BigInt(ledger) << 32n) | (BigInt(1 + below(random, 900)) << 12n) | BigInt(1 + below(random, 4))),
      text: oddText(random, edge),
    }[form];
    if (!taken(key)) return key;
  }
}

function oddText(random: Random, edge: 'first' | 'last' | null): string {
  const letters = Array.from({ length: 1 + below(random, 6) }, () => pick(random, ODD_LETTERS)).join('');
  return edge === 'first' ? `\u0001${letters}` : edge === 'last' ? `\u{10ffff}${letters}` : letters;
}

/** What a row is joined by. */
export function keyIn({ join }: World, { key, account, asset, amount, subAccount }: Row): string {
  return join === 'sub_account' ? `${account}|${asset}|${amount}|${subAccount ?? ''}` : key;
}

/** An amount that no other row has. */
export function ownAmount({ random, rows }: World): bigint {
  return pick(random, [1n, -1n]) * (10n ** 30n + BigInt(rows));
}

export function newAmount(random: Random): bigint {
  const sign = chance(random, 0.5) ? 1n : -1n;
  const size = below(random, 3);
  // Small ones collide, large ones pass 2^53 and 2^64, the largest are at the edge of 128 bits.
  if (size === 0) return sign * BigInt(1 + below(random, 5));
  if (size === 1) return sign * BigInt(`0x${hexDigits(random, 2 + below(random, 20))}`) + sign;
  return sign * ((1n << 127n) - 2n - BigInt(below(random, 1_000)));
}

/** One leg and the book's row of it, on a key of their own; of an account in scope and old enough to be accused. */
export function addSingle(
  world: World,
  given: Partial<Row> = {},
  edge: 'first' | 'last' | null = null,
): { leg: Row; row: Row } {
  const { random } = world;
  const ledger = given.ledger ?? SETTLED.from + below(random, SETTLED.to - SETTLED.from);
  const accounts = world.form === 'text' ? ODD_NAMES.slice(0, 3) : ACCOUNTS.slice(0, 3);
  const leg: Row = {
    key: newKey(world, ledger, edge),
    account: world.scope ? pick(random, ACCOUNTS.slice(0, 3)) : pick(random, accounts),
    asset: pick(random, ASSETS),
    amount: newAmount(random),
    kind: pick(random, ['payment', 'path_payment', 'transfer']),
    status: 'success',
    counterparty: pick(random, [null, ...ACCOUNTS]),
    subAccount: pick(random, [null, '7', '9007199254740993', '18446744073709551615']),
    atMs: closedAtMs(ledger),
    ledger,
    txHash: null,
    rowIds: [`${ledger}-1-1-${world.rows++}`],
    ...given,
  };
  const row = bookRowOf(world, leg);
  world.ledger.push(leg);
  world.book.push(row);
  return { leg, row };
}

/** What an honest book writes of a leg. */
export function bookRowOf(world: World, leg: Row): Row {
  const { random } = world;
  const row: Row = {
    ...leg,
    kind: world.isBetweenSides || chance(random, 0.7) ? leg.kind : 'payout',
    status: leg.status === 'failed' ? pick(random, ['failed', 'error']) : pick(random, [null, 'completed', 'paid']),
    atMs: leg.atMs! + below(random, 60_000) - 30_000,
    txHash: null,
    rowIds: [`r${world.rows++}`],
  };
  for (const field of world.leftOut) row[field] = null;
  return row;
}

/** A movement of any shape: several legs, failed, crowded, summed by the book, or of an account that is out of scope. */
function addMovement(world: World): void {
  const { random } = world;
  const { leg, row } = addSingle(world, world.scope ? { account: pick(random, ACCOUNTS) } : {});
  const shape = below(random, 6);
  if (shape === 0) {
    Object.assign(leg, { status: 'failed', amount: 0n });
    row.status = pick(random, ['failed', 'error']);
    if (chance(random, 0.5)) remove(world.book, row);
  } else if (shape === 1) {
    addLeg(world, leg, { amount: -leg.amount, kind: 'transfer' });
  } else if (shape === 2) {
    for (let more = 1 + below(random, 3); more > 0; more--)
      addLeg(world, leg, { amount: newAmount(random), asset: pick(random, ASSETS), account: pick(random, ACCOUNTS) });
    if (world.join === 'tx_hash' && chance(random, 0.5)) sumBook(world, leg.key);
  } else if (shape === 3) {
    // More rows of a key than a batch holds.
    for (let more = world.batchRows + below(random, 4); more > 0; more--) addLeg(world, leg, {});
  } else if (shape === 4) {
    addLater(world, leg, 1 + below(random, 3));
  }
}

export function addLeg(world: World, like: Row, given: Partial<Row>): Row {
  const leg: Row = { ...like, rowIds: [`${like.ledger}-1-1-${world.rows++}`], ...given };
  world.ledger.push(leg);
  world.book.push(bookRowOf(world, leg));
  return leg;
}

/** The same movement again, each time some minutes later; under other keys, unless it is its own key. */
export function addLater(world: World, like: Row, times: number): Row[] {
  return Array.from({ length: times }, (_, i) => {
    const ledger = like.ledger! + 40 * (i + 1);
    const key = world.join === 'sub_account' ? like.key : newKey(world, ledger);
    return addLeg(world, like, { key, ledger, atMs: closedAtMs(ledger) });
  });
}

/** One row for all legs of an account and asset, as many books have it. */
function sumBook(world: World, key: string): void {
  const sums = new Map<string, Row>();
  for (const row of world.book.filter((each) => each.key === key)) {
    const sum = sums.get(JSON.stringify([row.account, row.asset]));
    if (sum) sum.amount += row.amount;
    else
      sums.set(JSON.stringify([row.account, row.asset]), { ...row, kind: null, counterparty: null, subAccount: null });
  }
  if ([...sums.values()].some(({ amount }) => BigInt.asIntN(128, amount) !== amount)) return;
  world.book = world.book.filter((row) => row.key !== key);
  world.book.push(...sums.values());
}

export function remove<T>(list: T[], item: T): void {
  list.splice(list.indexOf(item), 1);
}
