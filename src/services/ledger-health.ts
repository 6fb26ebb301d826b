// Samples the health of the marketplace's payments: five counts, each apart from the others, so that one that fails is seen and
// the rest go on.
import type { Marketplace, MarketplaceReading } from '../sources/marketplace.ts';
import {
  LEDGER_GAUGES,
  LEDGER_GAUGE_WORDS,
  type LedgerGaugeName,
  type LedgerHealth,
  type LedgerHealthRow,
  sampled,
  thresholdOf,
} from '../core/ledger-health.ts';
import { TrueUpError } from '../core/errors.ts';
import { EMPTY_PAGE, type Page, type PageRequest } from '../core/page.ts';
import { failureOf } from '../core/status.ts';
import type { Database } from '../store/database.ts';
import { keepReversals, longWaitingReversals } from '../store/reversal-sightings.ts';
import type { Events } from '../telemetry/events.ts';

export interface LedgerHealthDeps {
  readonly db: Database;
  /** Null: none is configured, and so nothing is sampled. */
  readonly marketplace: Marketplace | null;
  readonly events: Pick<Events, 'ledgerSamplingBegan' | 'ledgerSampled' | 'ledgerUnreadable' | 'marketplaceChecked'>;
  readonly clock?: { now(): Date };
}

export interface LedgerHealthFilter {
  /** Null: all. */
  readonly name: string | null;
  /** Rows to show of each gauge; 0: only counts. */
  readonly rowsLimit: number;
}

export interface LedgerHealthService {
  /** Reads every gauge once. What can't be read is shown and logged, never thrown. */
  sample(signal: AbortSignal): Promise<void>;
  /** The gauges in their order, as last sampled; their rows are read now. */
  list(filter: LedgerHealthFilter, page: PageRequest, signal: AbortSignal): Promise<Page<LedgerHealth>>;
}

const REVERSALS: LedgerGaugeName = 'ledger_reversal_pending_transfers';

export function createLedgerHealth(deps: LedgerHealthDeps): LedgerHealthService {
  const { db, marketplace, events } = deps;
  const now = () => deps.clock?.now() ?? new Date();
  if (marketplace === null) return { sample: () => Promise.resolve(), list: () => Promise.resolve(EMPTY_PAGE) };
  const { thresholds } = marketplace;
  const gauges = new Map(LEDGER_GAUGES.map((name) => [name, neverSampled(name, thresholdOf(name, thresholds))]));
  let checked = false;
  events.ledgerSamplingBegan({ at: now() });

  function counted(name: LedgerGaugeName, count: number): void {
    gauges.set(name, sampled(gauges.get(name)!, { count }, now()));
    events.ledgerSampled({ gauge: name, count, at: now() });
  }

  function unreadable(name: LedgerGaugeName, error: unknown): void {
    gauges.set(name, sampled(gauges.get(name)!, { failure: failureOf(error, now()) }, now()));
    events.ledgerUnreadable({ gauge: name, error });
  }

  /** What is missing is told once, at the first reading that gets an answer. */
  async function check(reading: MarketplaceReading): Promise<void> {
    if (checked) return;
    try {
      events.marketplaceChecked(await reading.check());
      checked = true;
    } catch {
      // The gauges say why, and the next reading asks again.
    }
  }

  async function sample(signal: AbortSignal): Promise<void> {
    const open = new Set(LEDGER_GAUGES);
    try {
      await marketplace!.read(signal, async (reading) => {
        await check(reading);
        for (const name of LEDGER_GAUGES) {
          try {
            counted(name, await countOf(reading, name));
          } catch (error) {
            signal.throwIfAborted();
            unreadable(name, error);
          }
          open.delete(name);
        }
      });
    } catch (error) {
      // Asked to stop: that is no failure of the marketplace's.
      if (signal.aborted) return;
      for (const name of open) unreadable(name, error);
    }
  }

  async function countOf(reading: MarketplaceReading, name: LedgerGaugeName): Promise<number> {
    if (name !== REVERSALS || marketplace!.knowsReversals) return reading.count(name);
    const waiting = await reading.reversals();
    await keepReversals(
      db.em(),
      waiting.map(({ rowId, since }) => ({ transferId: rowId, since: since ?? now() })),
    );
    return (await longWaiting(waiting)).length;
  }

  function longWaiting(waiting: readonly LedgerHealthRow[]) {
    return longWaitingReversals(
      db.em(),
      waiting.map((row) => row.rowId),
      thresholds.pendingReversalsMs,
    );
  }

  async function rowsOf(reading: MarketplaceReading, name: LedgerGaugeName, limit: number): Promise<LedgerHealthRow[]> {
    if (name !== REVERSALS || marketplace!.knowsReversals) return reading.rows(name, limit);
    const waiting = new Map((await reading.reversals()).map((row) => [row.rowId, row]));
    const long = (await longWaiting([...waiting.values()])).slice(0, limit);
    return long.map(({ transferId, since }) => ({ ...waiting.get(transferId)!, since }));
  }

  async function withRows(shown: readonly LedgerHealth[], limit: number, signal: AbortSignal): Promise<LedgerHealth[]> {
    const read: LedgerHealth[] = [];
    const failed = (gauge: LedgerHealth, error: unknown): LedgerHealth =>
      sampled(gauge, { failure: failureOf(error, now()) }, now());
    try {
      await marketplace!.read(signal, async (reading) => {
        for (const gauge of shown) {
          try {
            read.push({ ...gauge, rows: await rowsOf(reading, gauge.name, limit) });
          } catch (error) {
            signal.throwIfAborted();
            read.push(failed(gauge, error));
          }
        }
      });
    } catch (error) {
      signal.throwIfAborted();
      read.push(...shown.slice(read.length).map((gauge) => failed(gauge, error)));
    }
    return read;
  }

  return {
    sample,
    async list({ name, rowsLimit }, page, signal) {
      const all = [...gauges.values()].filter((gauge) => name === null || gauge.name === name);
      const from = page.after === null ? 0 : positionOf(page.after, all.length);
      const shown = all.slice(from, from + page.size);
      const next = from + shown.length < all.length ? { n: from + shown.length } : null;
      return { items: rowsLimit === 0 ? shown : await withRows(shown, rowsLimit, signal), next, totalSize: all.length };
    },
  };
}

function positionOf(after: NonNullable<PageRequest['after']>, count: number): number {
  const at = after['n'];
  if (typeof at === 'number' && Number.isInteger(at) && at >= 0 && at <= count) return at;
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}

function neverSampled(name: LedgerGaugeName, ageThresholdMs: number | null): LedgerHealth {
  return {
    ...{ name, description: LEDGER_GAUGE_WORDS[name], state: 'pending', count: null, ageThresholdMs },
    ...{ rows: [], sampledAt: null, since: null, failure: null },
  };
}
