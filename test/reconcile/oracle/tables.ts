// A world as two real tables, and the run's answer read back: the ledger's rows committed as a follower would and the book's recorded,
// or both in tables of somebody else's.
import type { Book } from '../../../src/core/book.ts';
import type { EntryKind } from '../../../src/core/entry.ts';
import { POLICY_DEFAULTS, type Policy } from '../../../src/core/policy.ts';
import { createPostgresBook } from '../../../src/sources/book-postgres.ts';
import type { StoredRun } from '../../../src/store/runs.ts';
import { onAdminConnection, type TestDatabase } from '../../_util/database.ts';
import type { EntryByHand } from '../../_util/ledger-rows.ts';
import { below, chance, pick, randomFrom } from '../../_util/random.ts';
import { openHouse, type House } from '../../_util/reconcile.ts';
import { FAULT_NAMES, putFault } from './faults.ts';
import type { Said } from './naive.ts';
import {
  ACCOUNTS,
  addSingle,
  ASSETS,
  closedAtMs,
  COMPLETE_THROUGH,
  createWorld,
  CUT,
  FIRST,
  FORMS,
  HOLE,
  LOOKAROUND_MS,
  tolerancesOf,
  type Row,
  type World,
} from './world.ts';

/** Rows that agree, on either side, beside the faulty ones. */
const AGREEING_ROWS = 1_000;

export interface Tables {
  readonly world: World;
  readonly house: House;
  /** Where both sides are tables of the user's. */
  readonly outside?: { readonly url: string; readonly ledger: string; readonly book: string };
  /** Writes rows of the book, anew or again. */
  readonly record: (rows: readonly Row[]) => Promise<void>;
  /** Called once both sides' snapshots are open, in the middle of a run. */
  whileRunning: () => Promise<void>;
}

/** Two tables with `faults` faults among a thousand rows that agree. */
export async function openTables(test: TestDatabase, seed: number, faults: number): Promise<Tables> {
  const world = createTableWorld(seed, faults);
  return world.isBetweenSides ? openSides(test, world) : openStream(test, world);
}

async function openStream({ db }: TestDatabase, world: World): Promise<Tables> {
  const house = await openHouse(db, {
    startLedger: FIRST,
    // Rounds may take long; nobody follows meanwhile, and that is no silence of the source.
    maxSilenceMs: 86_400_000,
    policy: policyOf(world),
    book: (recorded) => interrupted(recorded, () => tables.whileRunning()),
  });
  const tables: Tables = { world, house, record: (rows) => recordPushed(house, world, rows), ...QUIET };
  const entries = entriesOf(world);
  for (const { from, to } of world.facts.covered) {
    if (from === HOLE.to) await house.unreadable(HOLE);
    await house.ledgers(
      { from, to },
      entries.filter(({ ledger }) => from <= ledger && ledger < to),
    );
  }
  await tables.record(world.book);
  return tables;
}

async function openSides({ db, url }: TestDatabase, world: World): Promise<Tables> {
  const names = [`theirs_${world.seed}`, `ours_${world.seed}`] as const;
  const [theirs, ours] = names.map((name) => createPostgresBook({ url, query: `select * from ${name}` }));
  const [ledger, book] = names.map((name) => ({ kind: 'external', type: 'postgres', immutable: false, name }) as const);
  const house = await openHouse(db, {
    policy: { ...policyOf(world), ledger: ledger!, book: book!, windowHours: null },
    book: () => interrupted(ours!, () => tables.whileRunning()),
  });
  Object.assign(house.runDeps, { ledgerOf: () => theirs! });
  for (const name of names)
    await onAdminConnection(url, (client) => client.query(`create table ${name} (${COLUMNS}, primary key (row_id))`));
  const [theirQuery, ourQuery] = names.map((name) => `select * from ${name}`) as [string, string];
  const outside = { url, ledger: theirQuery, book: ourQuery };
  const tables: Tables = { world, house, outside, record: (rows) => putRows(url, names[1], rows), ...QUIET };
  await putRows(url, names[0], world.ledger);
  await tables.record(world.book);
  return tables;
}

const QUIET = { whileRunning: (): Promise<void> => Promise.resolve() };

function policyOf({ join, toleranceMs, tolerances, scope }: World): Partial<Policy> {
  return {
    join,
    lookaroundMs: LOOKAROUND_MS,
    timeToleranceMs: toleranceMs,
    amountTolerances: tolerances,
    scope: scope === null ? {} : { accounts: [...scope] },
  };
}

const COLUMNS = `row_id text, key text, account text, asset text, amount_minor numeric, kind text, counterparty text, status text,
  sub_account text, occurred_at timestamptz`;

async function putRows(url: string, table: string, rows: readonly Row[]): Promise<void> {
  const written = rows.map((row) => ({
    row_id: row.rowIds[0],
    ...{ key: row.key, account: row.account, asset: row.asset, amount_minor: String(row.amount), kind: row.kind },
    ...{ counterparty: row.counterparty, status: row.status, sub_account: row.subAccount },
    occurred_at: row.atMs === null ? null : new Date(row.atMs).toISOString(),
  }));
  await onAdminConnection(url, (client) =>
    client.query(
      `insert into ${table} select * from jsonb_to_recordset($1::jsonb) as r (${COLUMNS})
       on conflict (row_id) do update set amount_minor = excluded.amount_minor`,
      [JSON.stringify(written)],
    ),
  );
}

async function recordPushed(house: House, world: World, rows: readonly Row[]): Promise<void> {
  const through = world.facts.bookCompleteThroughMs === closedAtMs(CUT) ? CUT : COMPLETE_THROUGH;
  const written = rows.map(
    ({ key, rowIds, atMs, account, asset, amount, kind, counterparty, status, subAccount, ledger }) =>
      house.row(FIRST, {
        ...{ key, rowId: rowIds[0]!, account, asset, amount, kind, counterparty, status, subAccount, ledger },
        occurredAt: atMs === null ? null : new Date(atMs),
      }),
  );
  await house.record(written, through);
}

/** What a run said, in the oracle's words; drifts are those that stand open after it. */
export async function answerOf(
  { house }: Tables,
  run: StoredRun,
): Promise<Said & { readonly counts: readonly number[] }> {
  const keys = new Map<string, string[]>();
  for await (const { items } of house.service.drifts.stream(
    { policy: house.name, states: ['open'] },
    null,
    AbortSignal.timeout(60_000),
  )) {
    for (const { matchKey, kinds, ledgerSide, bookSide } of items) {
      const line = `drift ${[...kinds].sort().join('+')} ${ledgerSide?.amount ?? '-'}/${bookSide?.amount ?? '-'}`;
      keys.set(matchKey, [...(keys.get(matchKey) ?? []), line].sort());
    }
  }
  const { matched, pending, skipped } = run.summary!.counts!;
  return { keys, verdict: run.verdict!, counts: [matched, pending, skipped] };
}

/** The oracle's answer without what a run only counts, and these counts. */
export function asStored(said: Said): Said & { readonly counts: readonly number[] } {
  const counts = ['matched', 'pending', 'skipped'].map(
    (what) => [...said.keys.values()].flat().filter((line) => line.startsWith(what)).length,
  );
  const keys = new Map(
    [...said.keys]
      .map(([key, lines]) => [key, lines.filter((line) => line.startsWith('drift'))] as const)
      .filter(([, lines]) => lines.length > 0),
  );
  return { keys, verdict: said.verdict, counts };
}

/** What tables are, one after the other, so that a few seeds have all of it. */
const SHAPES = [
  { join: 'operation', isBetweenSides: false, isTolerant: true },
  { join: 'tx_hash', isBetweenSides: false, isTolerant: false },
  { join: 'sub_account', isBetweenSides: false, isTolerant: false },
  { join: 'operation', isBetweenSides: true, isTolerant: true },
  { join: 'tx_hash', isBetweenSides: true, isTolerant: true },
  { join: 'sub_account', isBetweenSides: true, isTolerant: false },
  { join: 'tx_hash', isBetweenSides: false, isTolerant: true },
  { join: 'operation', isBetweenSides: true, isTolerant: false },
] as const;

function createTableWorld(seed: number, faults: number): World {
  const random = randomFrom(seed);
  const { join, isBetweenSides, isTolerant } = SHAPES[(seed - 1) % SHAPES.length]!;
  const isWhole = chance(random, 0.5);
  const cutClosedMs = closedAtMs(CUT);
  const plain = createWorld(seed);
  const { missingTimes } = plain.facts;
  const world: World = {
    ...plain,
    random,
    join,
    form: pick(
      random,
      FORMS[join].filter((form) => form !== 'text'),
    ),
    asText: false,
    isBetweenSides,
    tolerances: isTolerant ? tolerancesOf(random) : [],
    // Where the join is by sub-account the book must have it, whatever else it lacks.
    leftOut: join === 'sub_account' ? plain.leftOut.filter((field) => field !== 'subAccount') : plain.leftOut,
    facts: {
      ...plain.facts,
      grace: POLICY_DEFAULTS.grace,
      // Ledgers by hand closed years before any run.
      cutAtMs: Date.now(),
      covered: isWhole ? [{ from: FIRST, to: CUT + 1 }] : plain.facts.covered,
      missingTimes: isWhole ? missingTimes.slice(0, 1) : missingTimes,
      // A table of somebody else's is complete to the moment at which it is read.
      ...(isBetweenSides && { cutClosedMs: Date.now(), bookCompleteThroughMs: Date.now() }),
    },
    isInside: isBetweenSides
      ? () => true
      : ({ ledger, atMs }, side) => {
          if (side === 'ledger' || (ledger !== null && ledger <= CUT)) return FIRST <= ledger! && ledger! <= CUT;
          return atMs === null ? ledger === null : closedAtMs(FIRST) < atMs && atMs <= cutClosedMs;
        },
    ledger: [],
    book: [],
    due: new Map(),
    told: [],
  };
  // A leg of the first ledger tells when the window begins; one of each account and asset, that all are the book's own.
  addSingle(world, { ledger: FIRST, atMs: closedAtMs(FIRST) });
  for (const account of ACCOUNTS) for (const asset of ASSETS) addSingle(world, { account, asset });
  while (world.book.length < AGREEING_ROWS) addSingle(world, { account: pick(random, ACCOUNTS) });
  for (let left = faults; left > 0; left--) putFault(world, pick(random, FAULT_NAMES));
  return world;
}

/** Legs as entries: where they stand in the ledger is made up from their keys. */
function entriesOf(world: World): EntryByHand[] {
  const places = new Map<string, { txIndex: number; legs: number }>();
  const transactions = new Map<number, number>();
  return world.ledger.map((leg) => {
    const ledger = leg.ledger!;
    let place = places.get(leg.key);
    if (place === undefined) {
      transactions.set(ledger, (transactions.get(ledger) ?? 0) + 1);
      places.set(leg.key, (place = { txIndex: transactions.get(ledger)!, legs: 0 }));
    }
    const isId = world.form === 'toid';
    const id = isId ? BigInt(leg.key) : 0n;
    const [hash, operation = '1'] = leg.key.split(':');
    return {
      ledger,
      txIndex: isId ? Number((id >> 12n) & 0xfffffn) : place.txIndex,
      opIndex: isId ? Number(id & 0xfffn) : Number(operation),
      leg: place.legs++,
      txHash: isId ? leg.key.padStart(64, '0') : hash!,
      account: leg.account,
      asset: leg.asset,
      amount: leg.amount,
      kind: leg.kind as EntryKind,
      counterparty: leg.counterparty,
      status: leg.status as 'success' | 'failed',
      subAccount: leg.subAccount,
      subAccountType: leg.subAccount === null ? null : 'memo_id',
    };
  });
}

/** By which a side gives its rows: in order, or those whose digests differ. */
const READINGS = new Set<string | symbol>(['entries', 'chosen']);

/** A book in whose reading something happens: all snapshots are open by then. */
function interrupted(book: Book, meanwhile: () => Promise<void>): Book {
  return {
    async open(level, signal) {
      const side = await book.open(level, signal);
      return new Proxy(side, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== 'function' || !READINGS.has(name)) return value;
          return async function* (...call: unknown[]) {
            await meanwhile();
            yield* value.apply(target, call) as AsyncIterable<unknown>;
          };
        },
      });
    },
  };
}

/** A random number of what exists already, for writers that come later. */
export function someOf<T>(world: World, list: readonly T[], count: number): T[] {
  return Array.from({ length: Math.min(count, list.length) }, () => list[below(world.random, list.length)]!);
}
