// What the sandbox's book holds for a leg, and the five mistakes that were planted in it.
import { hash } from 'node:crypto';
import type { BookRowInput } from '../core/book.ts';
import type { Entry } from '../core/entry.ts';
import { makeWatch } from '../core/watch.ts';
import {
  createSandboxSource,
  SANDBOX_HISTORY_MS,
  type SandboxOptions,
  type SandboxSource,
} from '../sources/sandbox.ts';

export const MISTAKES = ['missing', 'amount', 'status', 'duplicate', 'phantom'] as const;
export type Mistake = (typeof MISTAKES)[number];

export interface Plant {
  readonly mistake: Mistake;
  /** The ledger with which its row is written. */
  readonly ledger: number;
  /** The row as it should be; for `phantom` the row that should not be. */
  readonly row: BookRowInput;
}

/** How many ledgers are searched for a movement that a mistake can fall on. */
const SEARCH_LEDGERS = 64;
const PHANTOM_STROOPS = 2_500_000_000n;
const ONE_UNIT = 10_000_000n;

/** The row that a correct business has for a leg. */
export function correctRow(entry: Entry, closeTime: number): BookRowInput {
  return {
    rowId: `sandbox-${entry.ledger}-${entry.txIndex}-${entry.opIndex}-${entry.leg}`,
    key: `${entry.txHash}:${entry.opIndex}`,
    account: entry.account,
    asset: entry.asset,
    amount: entry.amount,
    kind: entry.kind,
    counterparty: entry.counterparty,
    status: entry.status === 'success' ? 'completed' : 'failed',
    subAccount: entry.subAccount,
    occurredAt: new Date(closeTime * 1000),
    ledger: entry.ledger,
    retracted: false,
  };
}

/** Rows of one ledger with the mistakes in them. Fees and genesis have no row: a policy totals fees apart. */
export function bookRowsOf(
  ledger: { readonly sequence: number; readonly closeTime: number; readonly entries: readonly Entry[] },
  plants: readonly Plant[],
): BookRowInput[] {
  const business = ledger.entries.filter((entry) => entry.opIndex > 0 && entry.txHash !== null);
  const rows = business.map((entry) => correctRow(entry, ledger.closeTime));
  return plants.filter((plant) => plant.ledger === ledger.sequence).reduce(mistaken, rows);
}

/**
 * One mistake of each sort, in the order of MISTAKES, spread over the first half of a first start's history, so that
 * every one of them is older than its grace period when the first verdict falls. They follow from the start alone.
 */
export async function findPlants(
  sandbox: Omit<SandboxOptions, 'faults'>,
  startLedger: number,
  nowMs: number,
): Promise<Plant[]> {
  const rate = sandbox.ledgersPerSecond ?? 1;
  // Looked for with a clock that is ahead, since the last of them may fall on a ledger that hasn't closed yet.
  const aheadMs = SANDBOX_HISTORY_MS + (4 * SEARCH_LEDGERS * 1000) / rate;
  const source = createSandboxSource({ ...sandbox, now: () => nowMs + aheadMs });
  const history = source.sequenceAt(nowMs) - source.sequenceAt(nowMs - SANDBOX_HISTORY_MS);
  const plants: Plant[] = [];
  for (const [index, mistake] of MISTAKES.entries()) {
    const from = startLedger + Math.floor((history * (index + 1)) / 10);
    const plant = await findPlant(source, mistake, from, new Set(plants.map(({ row }) => row.key)));
    if (plant) plants.push(plant);
  }
  return plants;
}

async function findPlant(
  source: SandboxSource,
  mistake: Mistake,
  from: number,
  taken: ReadonlySet<string>,
): Promise<Plant | null> {
  const { vaults } = source.cast;
  const request = {
    range: { from, to: from + SEARCH_LEDGERS },
    layers: ['operations'],
    watch: makeWatch(vaults),
  } as const;
  const { records } = await source.read(request, new AbortController().signal);
  if (mistake === 'phantom') return { mistake, ledger: from, row: phantom(source, from, records[0]!.closeTime) };
  for (const { entries, closeTime } of records) {
    for (const entry of entries) {
      const plain =
        entry.kind === 'payment' && entry.status === 'success' && !vaults.includes(entry.counterparty ?? '');
      // Money that came in is forgotten or booked twice; money that went out is mistyped or believed to have failed.
      const direction =
        mistake === 'missing' || mistake === 'duplicate' ? entry.amount > ONE_UNIT : entry.amount < -ONE_UNIT;
      const row = correctRow(entry, closeTime);
      if (plain && direction && !taken.has(row.key)) return { mistake, ledger: entry.ledger, row };
    }
  }
  return null;
}

function mistaken(rows: BookRowInput[], plant: Plant): BookRowInput[] {
  const { mistake, row } = plant;
  const changed = (change: Partial<BookRowInput>): BookRowInput[] =>
    rows.map((one) => (one.rowId === row.rowId ? { ...one, ...change } : one));
  switch (mistake) {
    case 'missing':
      return rows.filter((one) => one.rowId !== row.rowId);
    case 'amount':
      return changed({ amount: row.amount! - ONE_UNIT });
    case 'status':
      return changed({ status: 'failed' });
    case 'duplicate':
      return [...rows, { ...row, rowId: `${row.rowId}-again` }];
    case 'phantom':
      return [...rows, row];
  }
}

function phantom(source: SandboxSource, ledger: number, closeTime: number): BookRowInput {
  return {
    rowId: `sandbox-phantom-${ledger}`,
    key: `${hash('sha256', `${source.id}\nphantom\n${ledger}`)}:1`,
    account: source.cast.vaults[0]!,
    asset: source.cast.assets[0],
    amount: PHANTOM_STROOPS,
    kind: 'payment',
    counterparty: source.cast.customers[0]!,
    status: 'completed',
    subAccount: null,
    occurredAt: new Date(closeTime * 1000),
    ledger,
    retracted: false,
  };
}
