// Goal: what a comparison says depends on the rows alone. Method: the same made-up sides asked again in another order, in other
// batches, with rows added that agree, and with the roles of the sides exchanged.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DriftKind } from '../../src/core/drift.ts';
import { compareKey, type Finding, type MatchRules } from '../../src/core/match.ts';
import { DEFAULT_STATUS_MAP } from '../../src/core/policy.ts';
import { cases } from '../_util/cases.ts';
import { randomFrom, shuffled } from '../_util/random.ts';
import { ask, ENGINE } from './oracle/engine.ts';
import { faultyWorld } from './oracle/proof.ts';
import { addSingle, keyIn, ownAmount, type Row, type World } from './oracle/world.ts';

const seeds = fc.nat(2 ** 30);
const told = async (world: World) => [...(await ask(ENGINE, world, [])).keys].sort(([a], [b]) => (a < b ? -1 : 1));

describe('a comparison', () => {
  it('says the same in whatever order the rows lie', () =>
    fc.assert(
      fc.asyncProperty(seeds, fc.nat(), async (seed, order) => {
        const [world, again] = [faultyWorld(seed), faultyWorld(seed)];
        again.ledger = shuffled(randomFrom(order), again.ledger);
        // Words are spelled row by row, so the book's order would spell them otherwise.
        if (!again.asText) again.book = shuffled(randomFrom(order + 1), again.book);
        expect(await told(again)).toEqual(await told(world));
      }),
      cases(400),
    ));

  it('says the same whatever the batches', () =>
    fc.assert(
      fc.asyncProperty(seeds, fc.integer({ min: 1, max: 60 }), async (seed, batchRows) => {
        const world = faultyWorld(seed);
        expect(await told({ ...world, batchRows })).toEqual(await told(world));
      }),
      cases(400),
    ));

  it('says nothing else of the others when a row is added on both sides', () =>
    fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const world = faultyWorld(seed);
        const more = { ...world, ledger: [...world.ledger], book: [...world.book] };
        const { leg } = addSingle(more, { amount: ownAmount(more) });
        const added = keyIn(more, leg);
        const others = (await told(more)).filter(([key]) => key !== added);
        expect(others).toEqual(await told(world));
        expect((await told(more)).find(([key]) => key === added)?.[1]).toEqual([`matched ${leg.amount}/${leg.amount}`]);
      }),
      cases(400),
    ));

  it('says the same of the book as of the ledger when their roles are exchanged', () =>
    fc.assert(
      fc.property(seeds, (seed) => {
        const world = faultyWorld(seed);
        // Only the book may leave words out or use its own, and only it can be pending: without these both sides are alike.
        const alike = ({ key, rowIds, ...row }: Row): Row => ({
          ...row,
          ...{ key, rowIds, kind: 'payment', status: 'success', counterparty: null, subAccount: null },
        });
        const [ledger, book] = [world.ledger.map(alike), world.book.map(alike)];
        for (const key of new Set([...ledger, ...book].map((row) => row.key))) {
          const [legs, rows] = [ledger, book].map((side) => side.filter((row) => row.key === key));
          const rules: MatchRules = {
            sumLegs: false,
            statusMap: DEFAULT_STATUS_MAP,
            timeToleranceMs: world.toleranceMs,
          };
          expect(shape(compareKey(rows!, legs!, rules), true)).toEqual(shape(compareKey(legs!, rows!, rules), false));
        }
      }),
      cases(400),
    ));
});

const OTHER_SIDE: Partial<Record<DriftKind, DriftKind>> = {
  MISSING_IN_DB: 'MISSING_ON_LEDGER',
  MISSING_ON_LEDGER: 'MISSING_IN_DB',
  DUPLICATE_IN_DB: 'DUPLICATE_ON_LEDGER',
  DUPLICATE_ON_LEDGER: 'DUPLICATE_IN_DB',
};

/** How many pairs and leftovers of each kind there are. */
function shape(findings: readonly Finding[], isExchanged: boolean): string[] {
  return findings
    .map(({ kinds }) =>
      kinds
        .map((kind) => (isExchanged ? (OTHER_SIDE[kind] ?? kind) : kind))
        .sort()
        .join('+'),
    )
    .sort();
}
