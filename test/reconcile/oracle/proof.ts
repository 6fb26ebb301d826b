// Asks an engine and the oracle about one world after another, until they differ.
import { cases } from '../../_util/cases.ts';
import { below, chance, pick } from '../../_util/random.ts';
import type { Inconclusive } from '../../../src/core/run.ts';
import { ask, ENGINE, type Engine } from './engine.ts';
import { FAULT_NAMES, putFault } from './faults.ts';
import { oracle, type Said } from './naive.ts';
import { createWorld, type World } from './world.ts';

/** Each case is a world of up to a dozen keys with up to three faults. */
const MAX_FAULTS = 3;

const UNREAD: Inconclusive = {
  reason: 'COVERAGE_GAP',
  side: 'ledger',
  message: 'a hole',
  fix: 'read it',
  ranges: [],
  accounts: [],
  itemCount: 1,
};

/** @throws Error with the seed, the faults and both answers, for the first world of which the engine says anything else than it must. */
export async function proveEngine(few: number, engine: Engine = ENGINE): Promise<Map<string, number>> {
  const { numRuns, seed = 1 } = cases(few);
  const tried = new Map<string, number>(FAULT_NAMES.map((name) => [name, 0]));
  for (let run = 0; run < numRuns; run++) {
    const world = faultyWorld(seed + run);
    const problem = await differenceIn(world, engine);
    if (problem !== null) throw new Error(`${problem.words}\n${describe(world, problem.key)}`);
    for (const name of world.told) tried.set(name, tried.get(name)! + 1);
  }
  return tried;
}

/** A world with faults in it, the same for the same seed. */
export function faultyWorld(seed: number): World {
  const world = createWorld(seed);
  for (let left = below(world.random, MAX_FAULTS + 1); left > 0; left--)
    putFault(world, pick(world.random, FAULT_NAMES));
  return world;
}

interface Problem {
  readonly words: string;
  /** Null where it isn't a matter of one key. */
  readonly key: string | null;
}

async function differenceIn(world: World, engine: Engine): Promise<Problem | null> {
  const inconclusive = chance(world.random, 0.1) ? [UNREAD] : [];
  const must = oracle(world, inconclusive.length > 0);
  const wrongFault = faultNotSeen(world, must);
  if (wrongFault !== null) return wrongFault;
  let said: Said;
  try {
    said = await ask(engine, world, inconclusive);
  } catch (error) {
    return { key: null, words: `the engine failed: ${String(error)}` };
  }
  for (const key of new Set([...must.keys.keys(), ...said.keys.keys()])) {
    const [right, given] = [must.keys.get(key) ?? [], said.keys.get(key) ?? []];
    if (right.join() !== given.join())
      return { key, words: `the engine says [${given.join(', ')}], and must say [${right.join(', ')}]` };
  }
  if (must.verdict === said.verdict) return null;
  return { key: null, words: `the verdict is ${said.verdict}, and must be ${must.verdict}` };
}

/** The oracle itself is held to what each fault is due to be called, and to silence where there is none. */
function faultNotSeen(world: World, must: Said): Problem | null {
  // A fault may lead to several keys of a join by sub-account.
  const isOpen = world.join === 'sub_account' && world.told.length > 0;
  for (const key of new Set([...world.due.keys(), ...(isOpen ? [] : must.keys.keys())])) {
    const due = world.due.has(key) ? world.due.get(key)! : [];
    if (due === null) continue;
    const told = (must.keys.get(key) ?? [])
      .map((each) => each.replace(/ \S+$/, ''))
      .filter((each) => each !== 'matched');
    if (told.sort().join() !== [...due].sort().join())
      return { key, words: `the oracle says [${told.join(', ')}], and the fault is due to be [${due.join(', ')}]` };
  }
  return null;
}

function describe(world: World, key: string | null): string {
  const shown = (value: unknown): string =>
    JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
  const isShown = (row: { key: string }): boolean => key === null || row.key === key;
  const { seed, join, form, asText, toleranceMs, batchRows, scope, facts, ledger, book, told } = world;
  return [
    `again: npm run nightly -- oracle --seed ${seed} --cases 1`,
    `faults: ${told.join('; ') || 'none'}`,
    shown({ join, form, asText, toleranceMs, batchRows, scope: scope && [...scope], facts }),
    ...ledger.filter(isShown).map((row) => `ledger ${shown(row)}`),
    ...book.filter(isShown).map((row) => `book   ${shown(row)}`),
  ].join('\n');
}
