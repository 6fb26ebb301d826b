// The engine as the oracle is compared with: its real parts, each of which a test may replace by a wrong one.
import { parseBookRow } from '../../../src/core/book.ts';
import { compareKey, type MatchRules } from '../../../src/core/match.ts';
import { mergeInOrder } from '../../../src/core/order.ts';
import { DEFAULT_STATUS_MAP } from '../../../src/core/policy.ts';
import type { Inconclusive } from '../../../src/core/run.ts';
import { subAccountKey } from '../../../src/core/sub-account-key.ts';
import { toleranceOf } from '../../../src/core/tolerance.ts';
import { classify, classifyBetweenSides, decideVerdict } from '../../../src/core/verdict.ts';
import { toItem } from '../../../src/services/run-items.ts';
import { randomFrom, shuffled } from '../../_util/random.ts';
import type { Said } from './naive.ts';
import { spell } from './spelling.ts';
import { KINDS_APART, type Row, type World } from './world.ts';

export interface Engine {
  /** A book's row as it is written, and the leg that it is compared with, as items; not asked of worlds without text. */
  readonly readBook: (written: Record<string, string | null>) => Row;
  readonly readLedger: (leg: Row) => Row;
  /** Ordered rows as a cursor or pages give them. */
  readonly pages: (rows: readonly Row[], size: number) => readonly (readonly Row[])[];
  readonly compareKey: typeof compareKey;
  readonly classify: typeof classify;
  readonly classifyBetweenSides: typeof classifyBetweenSides;
  readonly decideVerdict: typeof decideVerdict;
}

export const ENGINE: Engine = {
  readBook(written) {
    const row = parseBookRow(written);
    return { key: row.key, ...toItem({ ...row, rowId: row.rowId!, amount: row.amount! }) };
  },
  readLedger: (leg) => leg,
  pages: (rows, size) =>
    Array.from({ length: Math.ceil(rows.length / size) }, (_, page) => rows.slice(page * size, (page + 1) * size)),
  compareKey,
  classify,
  classifyBetweenSides,
  decideVerdict,
};

/** What an engine says of a world. */
export async function ask(engine: Engine, world: World, inconclusive: readonly Inconclusive[]): Promise<Said> {
  const random = randomFrom(world.seed + 1);
  const book = world.asText ? world.book.map((row) => engine.readBook(spell(random, row))) : world.book;
  const rules: MatchRules = {
    sumLegs: world.join === 'tx_hash',
    keyRepeats: world.join === 'sub_account',
    statusMap: DEFAULT_STATUS_MAP,
    timeToleranceMs: world.toleranceMs,
    ...(world.tolerances.length > 0 && { toleranceOf: toleranceOf(world.tolerances) }),
    ownWords: world.isBetweenSides,
    inScope: (item, side) =>
      (world.scope === null || world.scope.has(item.account)) &&
      (side === 'ledger' || world.isBetweenSides || !KINDS_APART.has(item.kind)),
  };
  const betweenSides = { ...world.facts, ledgerCompleteThroughMs: world.facts.cutClosedMs };
  const keys = new Map<string, string[]>();
  let drifts = 0;
  const ledger = world.asText ? world.ledger.map(engine.readLedger) : world.ledger;
  const [left, right] = [ledger, book].map((rows) => ({
    batches: batches(engine.pages(inByteOrder(shuffled(random, keyed(world, rows))), world.batchRows)),
    keyOf: (row: Row) => row.key,
  }));
  const meetings = mergeInOrder(left!, right!);
  for await (const { key, left: legs, right: rows } of oneByOne(meetings)) {
    for (const finding of engine.compareKey(legs, rows, rules)) {
      const what = world.isBetweenSides
        ? engine.classifyBetweenSides(finding, betweenSides)
        : engine.classify(finding, world.facts);
      if (what === 'nothing') continue;
      if (what === 'drift') drifts++;
      const kinds = finding.kinds.length === 0 ? '' : ` ${[...finding.kinds].sort().join('+')}`;
      const line = `${what}${kinds} ${finding.ledger?.amount ?? '-'}/${finding.book?.amount ?? '-'}`;
      const said = keys.get(key);
      if (said) said.push(line);
      else keys.set(key, [line]);
    }
  }
  for (const said of keys.values()) said.sort();
  return { keys, verdict: engine.decideVerdict(inconclusive, drifts) };
}

function keyed({ join }: World, rows: readonly Row[]): readonly Row[] {
  return join === 'sub_account' ? rows.map((row) => ({ ...row, key: subAccountKey(row) })) : rows;
}

async function* oneByOne<T>(all: AsyncIterable<readonly T[]>): AsyncGenerator<T> {
  for await (const batch of all) yield* batch;
}

async function* batches<T>(pages: readonly T[]): AsyncGenerator<T> {
  yield* pages;
}

/** As PostgreSQL's collation "C" sorts, by another road than the engine's own. */
function inByteOrder(rows: readonly Row[]): Row[] {
  const bytes = new Map(rows.map(({ key }) => [key, Buffer.from(key)]));
  return [...rows].sort((a, b) => Buffer.compare(bytes.get(a.key)!, bytes.get(b.key)!));
}
