// What goes wrong between two sides, one fault on a key of its own, and what it is due to be called.
import { ENTRY_KINDS } from '../../../src/core/entry.ts';
import { below, chance, pick } from '../../_util/random.ts';
import {
  ACCOUNTS,
  addLater,
  addLeg,
  addSingle,
  ASSETS,
  bookRowOf,
  closedAtMs,
  COMPLETE_THROUGH,
  CUT,
  FIRST,
  HOLE,
  newAmount,
  keyIn,
  newKey,
  ownAmount,
  ODD_NAMES,
  remove,
  type Row,
  type World,
} from './world.ts';

type Fault = (world: World) => void;

const FAULTS: Readonly<Record<string, Fault>> = {
  'amounts of two rows swapped': (world) => {
    const [one, other] = [single(world), single(world)];
    if (one.row.amount === other.row.amount) other.leg.amount = other.row.amount = one.row.amount + 1n;
    [one.row.amount, other.row.amount] = [other.row.amount, one.row.amount];
    due(world, one.row, 'drift AMOUNT_MISMATCH');
    due(world, other.row, 'drift AMOUNT_MISMATCH');
  },
  'a pair that cancels': (world) => {
    const by = 1n + BigInt(below(world.random, 1_000));
    for (const change of [by, -by]) {
      const { row } = single(world, { amount: 5_000n });
      row.amount += change;
      due(world, row, 'drift AMOUNT_MISMATCH');
    }
  },
  'amount off by one minor unit': (world) => {
    const { row } = single(world);
    row.amount += row.amount > 0n ? -1n : 1n;
    due(world, row, 'drift AMOUNT_MISMATCH');
  },
  'amount at the edge of a tolerance, or one past it': (world) => {
    const rule = world.tolerances[0];
    if (rule === undefined || world.join === 'sub_account') return;
    const asset = rule.asset === '*' ? pick(world.random, ASSETS) : rule.asset;
    const amount = 1n + BigInt(below(world.random, 2 ** 30));
    const { row } = single(world, { asset, amount });
    const edge = rule.minor ?? BigInt(Math.floor((Number(amount) * rule.basisPoints!) / 10_000));
    const past = BigInt(below(world.random, 2));
    row.amount += (edge + past) * pick(world.random, [1n, -1n]);
    tell(world, row.key, past === 0n ? [] : ['drift AMOUNT_MISMATCH']);
  },
  'sign turned': (world) => {
    const { row } = single(world);
    row.amount = -row.amount;
    due(world, row, 'drift AMOUNT_MISMATCH');
  },
  'row twice in the book': (world) => {
    const { row } = single(world);
    for (let more = 1 + below(world.random, 2); more > 0; more--) {
      world.book.push({ ...row, rowIds: [`r${world.rows++}`] });
      due(world, row, 'drift DUPLICATE_IN_DB', 'more');
    }
  },
  'row twice in the book, and one still pending': (world) => {
    const { row } = single(world);
    world.book.push({ ...row, status: 'pending', rowIds: [side(world)] });
    due(world, row, 'drift DUPLICATE_IN_DB');
  },
  'leg twice on the ledger': (world) => {
    const { leg, row } = single(world);
    world.ledger.push({ ...leg, rowIds: [`${leg.ledger}-1-1-${world.rows++}`] });
    // Legs of one transaction are added up, so that two are a larger sum.
    due(world, row, world.join === 'tx_hash' ? 'drift AMOUNT_MISMATCH' : 'drift DUPLICATE_ON_LEDGER');
  },
  'missing in the book': (world) => {
    const { row } = single(world);
    remove(world.book, row);
    due(world, row, 'drift MISSING_IN_DB');
  },
  'missing in the book, so far': (world) => {
    const { leg, row } = single(world, at(CUT - below(world.random, 50)));
    remove(world.book, row);
    const isFresh = world.facts.cutAtMs - leg.atMs! < world.facts.grace.missingInDbMs;
    const isLate = leg.atMs! > world.facts.bookCompleteThroughMs!;
    due(world, row, isFresh || isLate ? 'pending MISSING_IN_DB' : 'drift MISSING_IN_DB');
  },
  'late row, where the book ends': (world) => {
    const { row } = single(world, at(COMPLETE_THROUGH + pick(world.random, [0, 1])));
    remove(world.book, row);
    due(world, row, null);
  },
  'missing on the ledger': (world) => {
    const { leg, row } = single(world);
    remove(world.ledger, leg);
    due(world, row, 'drift MISSING_ON_LEDGER');
  },
  'missing on the ledger, so far': (world) => {
    const { leg, row } = single(world, at(CUT - below(world.random, 160)));
    remove(world.ledger, leg);
    row.ledger = null;
    due(world, row, 'pending MISSING_ON_LEDGER');
  },
  'in a ledger after the cut': (world) => {
    const { leg, row } = single(world, at(CUT + 1 + below(world.random, 3)));
    remove(world.ledger, leg);
    due(world, row, 'pending MISSING_ON_LEDGER');
  },
  'in ledgers that were not read': (world) => {
    const { random } = world;
    const { leg, row } = single(world, at(pick(random, [FIRST - 1 - below(random, 50), HOLE.from, HOLE.to - 1])));
    remove(world.ledger, leg);
    if (chance(random, 0.5)) row.ledger = null;
    due(world, row, 'skipped MISSING_ON_LEDGER');
  },
  'named beside ledgers that were not read': (world) => {
    const ledger = pick(world.random, [FIRST, HOLE.from - 1, HOLE.to]);
    const { leg, row } = single(world, at(ledger));
    remove(world.ledger, leg);
    Object.assign(row, { ledger, atMs: closedAtMs(ledger) });
    due(world, row, 'drift MISSING_ON_LEDGER');
  },
  'without a time': (world) => {
    const { leg, row } = single(world);
    row.atMs = null;
    if (chance(world.random, 0.5)) return due(world, row, []);
    remove(world.ledger, leg);
    due(world, row, row.ledger === null ? 'skipped MISSING_ON_LEDGER' : 'drift MISSING_ON_LEDGER');
  },
  'status failed in the book': status('failed'),
  'status pending in the book': status('pending'),
  'status of a word of its own': status('on hold'),
  'still pending in the book': (world) => {
    const { row, leg } = single(world, at(CUT - below(world.random, 50)));
    row.status = 'submitted';
    const isFresh = world.facts.cutAtMs - leg.atMs! < world.facts.grace.missingInDbMs;
    due(world, row, `${isFresh ? 'pending' : 'drift'} STATUS_MISMATCH`);
  },
  'failed on the ledger, paid in the book': (world) => {
    const { leg, row } = single(world);
    Object.assign(leg, { status: 'failed', amount: 0n });
    due(world, row, 'drift STATUS_MISMATCH');
  },
  'a failed try beside the one that went through': (world) => {
    const { row } = single(world);
    world.book.push({ ...row, status: pick(world.random, ['failed', 'rejected']), rowIds: [side(world)] });
    due(world, row, []);
  },
  'failed in the book, never on the ledger': (world) => {
    const { leg, row } = single(world);
    remove(world.ledger, leg);
    row.status = 'rejected';
    due(world, row, []);
  },
  'another kind': (world) => {
    const { leg, row } = single(world);
    row.kind = pick(
      world.random,
      ENTRY_KINDS.filter((kind) => kind !== leg.kind && kind !== 'fee'),
    );
    due(world, row, 'drift TYPE_MISMATCH');
  },
  'another account': (world) => {
    const { row } = single(world);
    row.account = pick(
      world.random,
      ACCOUNTS.slice(0, 3).filter((account) => account !== row.account),
    );
    due(world, row, 'drift ACCOUNT_MISMATCH');
  },
  'another asset': (world) => {
    const { row } = single(world);
    row.asset = pick(
      world.random,
      ASSETS.filter((asset) => asset !== row.asset),
    );
    due(world, row, 'drift ASSET_MISMATCH');
  },
  'another account and asset': (world) => {
    const { row } = single(world);
    row.account = pick(
      world.random,
      ACCOUNTS.slice(0, 3).filter((account) => account !== row.account),
    );
    row.asset = pick(
      world.random,
      ASSETS.filter((asset) => asset !== row.asset),
    );
    due(world, row, ['drift MISSING_IN_DB', 'drift MISSING_ON_LEDGER']);
  },
  'another counterparty': (world) => {
    const { row } = single(world, { counterparty: ACCOUNTS[4]! });
    row.counterparty = ACCOUNTS[5]!;
    due(world, row, 'drift ACCOUNT_MISMATCH');
  },
  'another sub-account, past 2^53': (world) => {
    const { row } = single(world, { subAccount: '9007199254740993' });
    row.subAccount = '9007199254740992';
    due(world, row, 'drift ACCOUNT_MISMATCH');
  },
  'null on one side': (world) => {
    const { row } = single(world);
    Object.assign(row, { kind: null, counterparty: null, subAccount: null, status: null });
    due(world, row, []);
  },
  'another time': (world) => {
    const { leg, row } = single(world);
    row.atMs = leg.atMs! + pick(world.random, [-1, 1]) * (60_000 + pick(world.random, [0, 1]));
    const isOver = world.toleranceMs !== null && Math.abs(row.atMs - leg.atMs!) > world.toleranceMs;
    due(world, row, isOver ? 'drift TIME_MISMATCH' : []);
  },
  'written in the time of another zone': (world) => {
    const { row } = single(world);
    row.atMs! += 3_600_000 * pick(world.random, [-8, 5.5, 14]);
    due(world, row, world.toleranceMs === null ? [] : 'drift TIME_MISMATCH');
  },
  'several differences at once': (world) => {
    const { row } = single(world, { counterparty: ACCOUNTS[4]!, kind: 'payment' });
    Object.assign(row, { amount: row.amount + 1n, kind: 'trade', status: 'failed', counterparty: ACCOUNTS[5] });
    due(world, row, 'drift ACCOUNT_MISMATCH+AMOUNT_MISMATCH+STATUS_MISMATCH+TYPE_MISMATCH');
  },
  'key of another case': (world) => {
    const { leg, row } = single(world);
    if (world.form !== 'text') return due(world, row, []);
    [leg.key, row.key] = [`k${leg.key}`, `K${leg.key}`];
    due(world, leg, 'drift MISSING_IN_DB');
    due(world, row, 'drift MISSING_ON_LEDGER');
  },
  'names that run into each other': (world) => {
    if (world.form !== 'text') return;
    const { leg, row } = single(world, { account: 'a b', asset: 'c', amount: 7n });
    Object.assign(row, { account: 'a', asset: 'b c' });
    if (world.scope === null) due(world, leg, ['drift MISSING_IN_DB', 'drift MISSING_ON_LEDGER']);
    else due(world, leg, []);
  },
  'neighbouring ids past 2^53': (world) => {
    if (world.form !== 'toid') return;
    const { leg, row } = single(world);
    row.key = String(BigInt(leg.key) + 1n);
    if (world.ledger.some((each) => each.key === row.key)) return due(world, row, null);
    due(world, leg, 'drift MISSING_IN_DB');
    due(world, row, 'drift MISSING_ON_LEDGER');
  },
  'one of a crowd is missing': (world) => {
    const { leg, row } = single(world);
    for (let more = 2 * world.batchRows + below(world.random, 3); more > 0; more--) addLeg(world, leg, {});
    remove(world.book, row);
    // Which of equals is missing can't be told: the ledger has it once more than the book.
    due(world, row, world.join === 'tx_hash' ? 'drift AMOUNT_MISMATCH' : 'drift DUPLICATE_ON_LEDGER');
  },
  'one of a crowd too many': (world) => {
    const { leg, row } = single(world, { amount: 3n });
    for (let more = 2 * world.batchRows + below(world.random, 3); more > 0; more--) addLeg(world, leg, {});
    world.book.push({ ...row, rowIds: [`r${world.rows++}`] });
    due(world, row, 'drift DUPLICATE_IN_DB');
  },
  'part of a sum is only pending': (world) => {
    if (world.join !== 'tx_hash') return;
    const { leg, row } = single(world, { amount: 60n });
    addLeg(world, leg, { amount: 40n });
    const part = pick(
      world.random,
      world.book.filter((each) => each.key === row.key),
    );
    part.status = 'pending';
    due(world, row, 'drift STATUS_MISMATCH');
  },
  'differences within a sum that cancel': (world) => {
    if (world.join !== 'tx_hash') return;
    const { leg, row } = single(world, { amount: 60n });
    addLeg(world, leg, { amount: 45n });
    const rows = world.book.filter((each) => each.key === row.key);
    rows[0]!.amount += 7n;
    rows[1]!.amount -= 7n;
    due(world, row, []);
  },
  'equal legs to two counterparties, their rows in any order': (world) => {
    const { leg, row } = single(world, { counterparty: ACCOUNTS[4]! });
    addLeg(world, leg, { counterparty: ACCOUNTS[5]! });
    const rows = world.book.filter((each) => each.key === row.key);
    if (chance(world.random, 0.5)) [rows[0]!.rowIds, rows[1]!.rowIds] = [rows[1]!.rowIds, rows[0]!.rowIds];
    due(world, row, []);
  },
  'a fee in the book': (world) => {
    const { row } = single(world);
    world.book.push({ ...row, amount: -100n, kind: 'fee', rowIds: [side(world)] });
    due(world, row, []);
  },
  'rows of a key changed at will': (world) => {
    const { leg, row } = single(world);
    for (let more = below(world.random, 3); more > 0; more--) addLeg(world, leg, anything(world));
    for (const each of [...world.book].filter(({ key }) => key === row.key)) {
      if (chance(world.random, 0.2)) remove(world.book, each);
      else if (chance(world.random, 0.2)) world.book.push({ ...each, rowIds: [side(world)] });
      else if (chance(world.random, 0.5)) Object.assign(each, anything(world));
    }
    due(world, row, null);
  },
  'one of many alike of a sub-account is missing': (world) => {
    if (world.join !== 'sub_account') return;
    const { leg, row } = single(world, { amount: ownAmount(world) });
    addLater(world, leg, 1 + below(world.random, 4));
    remove(world.book, pick(world.random, alike(world, row)));
    tell(world, keyIn(world, row), ['drift MISSING_IN_DB']);
  },
  'one of many alike of a sub-account too many': (world) => {
    if (world.join !== 'sub_account') return;
    const { leg, row } = single(world, { amount: ownAmount(world) });
    addLater(world, leg, 1 + below(world.random, 4));
    remove(
      world.ledger,
      pick(
        world.random,
        world.ledger.filter((each) => each.amount === leg.amount),
      ),
    );
    for (const each of alike(world, row)) each.ledger = null;
    tell(world, keyIn(world, row), ['drift MISSING_ON_LEDGER']);
  },
  'the newest of many alike of a sub-account is not written down yet': (world) => {
    if (world.join !== 'sub_account') return;
    const { leg, row } = single(world, { amount: ownAmount(world) });
    const newest = { ...leg, ...at(CUT - below(world.random, 10)), rowIds: [`${CUT}-1-1-${world.rows++}`] } as Row;
    world.ledger.push(newest);
    const { facts } = world;
    const isFresh = facts.cutAtMs - newest.atMs! < facts.grace.missingInDbMs;
    const isLate = newest.atMs! > facts.bookCompleteThroughMs!;
    tell(world, keyIn(world, row), [isFresh || isLate ? 'pending MISSING_IN_DB' : 'drift MISSING_IN_DB']);
  },
  'a fee that is like a movement of a sub-account, and nearer in time': (world) => {
    if (world.join !== 'sub_account' || world.isBetweenSides) return;
    const { leg, row } = single(world, { amount: ownAmount(world) });
    row.atMs = leg.atMs! + 20_000;
    world.book.push({ ...row, atMs: leg.atMs, kind: 'fee', rowIds: [side(world)] });
    tell(world, keyIn(world, row), []);
  },
  'only the book has the key': (world) => {
    const { leg } = single(world);
    world.ledger = world.ledger.filter(({ key }) => key !== leg.key);
    const key = newKey(world, leg.ledger!);
    world.book.push({ ...bookRowOf(world, leg), key });
    due(world, { key }, 'drift MISSING_ON_LEDGER');
    due(world, leg, 'drift MISSING_ON_LEDGER');
  },
};

export const FAULT_NAMES = Object.keys(FAULTS);

/** Puts one fault into the world, and writes down what it is due to be called. */
export function putFault(world: World, name: string): void {
  world.told.push(name);
  FAULTS[name]!(world);
}

/** A leg and its row alone on a new key: now and then the first or the last of all. */
function single(world: World, given: Partial<Row> = {}): { leg: Row; row: Row } {
  return addSingle(world, given, pick(world.random, [null, null, 'first', 'last']));
}

function at(ledger: number): Partial<Row> {
  return { ledger, atMs: closedAtMs(ledger) };
}

function due(
  world: World,
  { key }: Pick<Row, 'key'>,
  kinds: string | readonly string[] | null,
  how: 'only' | 'more' = 'only',
): void {
  const list = typeof kinds === 'string' ? [kinds] : kinds;
  // Faults that are made for other joins say nothing of what its keys are.
  if (world.join === 'sub_account') return;
  // What a tolerance takes, and what is said where there is no ledger to be read, the oracle alone can tell.
  if (world.isBetweenSides || (world.tolerances.length > 0 && list?.some((kind) => kind.includes('AMOUNT_MISMATCH'))))
    return tell(world, key, null);
  tell(world, key, list, how);
}

/** As `due`, whatever the world. */
function tell(world: World, key: string, list: readonly string[] | null, how: 'only' | 'more' = 'only'): void {
  world.due.set(key, list && (how === 'more' ? [...(world.due.get(key) ?? []), ...list] : list));
}

function status(word: string): Fault {
  return (world) => {
    const { row } = single(world);
    row.status = word;
    due(world, row, 'drift STATUS_MISMATCH');
  };
}

function alike({ book }: World, row: Row): Row[] {
  return book.filter(({ amount }) => amount === row.amount);
}

/** A row id that sorts before or after those of the other rows. */
function side(world: World): string {
  return `${pick(world.random, ['a', 'z'])}${world.rows++}`;
}

function anything({ random, form, scope }: World): Partial<Row> {
  const accounts = form === 'text' && scope === null ? ODD_NAMES : ACCOUNTS;
  return pick<Partial<Row>>(random, [
    { account: pick(random, accounts) },
    { asset: pick(random, ASSETS) },
    { amount: newAmount(random) },
    { amount: BigInt(1 + below(random, 4)) },
    { subAccount: pick(random, ['1', '2']) },
  ]);
}
