// Goal: any replica's /metrics tells what the database knows, from its start on, and nothing that it doesn't. Method: gauges that are
// refreshed as a process does that has run nothing itself.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGauges } from '../../src/services/gauges.ts';
import { saveFollowerError } from '../../src/store/streams.ts';
import { upsertSchedule } from '../../src/store/schedules.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { quietEvents } from '../_util/services.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

/** A process that has just started: what it shows after one refresh, by name and labels. */
function started({ policies }: Pick<House, 'policies'> = { policies: new Map() }) {
  const { events, metrics } = quietEvents();
  const gauges = createGauges({
    ...{ db: test.db, events, policies },
    networkPassphrase: 'nowhere',
    syncStatusNow: () => Promise.resolve(null),
  });
  return async (name: string): Promise<number | undefined> => {
    await gauges.refresh();
    const line = (await metrics.render()).body.split('\n').find((each) => each.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.split(' ')[1]);
  };
}

describe('the time at which a schedule is due', () => {
  it('is shown from the start, before anything ran, moves with it, and goes while the schedule is switched off', async () => {
    const schedule = { name: 'reconcile:p', job: 'reconcile', intervalMs: 60_000, enabled: true };
    const name = 'schedule_due_timestamp_seconds{job="reconcile:p"}';
    await upsertSchedule(test.db.em(), { ...schedule, firstDelayMs: 600_000 });
    const shown = started();
    const inSeconds = (await shown(name))! - Date.now() / 1000;
    expect(inSeconds).toBeGreaterThan(300);
    expect(inSeconds).toBeLessThan(900);
    await upsertSchedule(test.db.em(), { ...schedule, enabled: false });
    expect(await shown(name)).toBeUndefined();
    expect(await started()(name)).toBeUndefined();
    await upsertSchedule(test.db.em(), schedule);
    expect(await shown(name)).toBeGreaterThan(0);
  });
});

describe('after a restart', () => {
  it('the last run is still the last one that could conclude, though a newer one could not', async () => {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 401 }, [{ ledger: 10, account: 'GA', amount: 5n }]);
    await at.record([at.row(10, { account: 'GA', amount: 5n })], 400);
    const clean = await at.run();
    expect(clean.verdict).toBe('CLEAN');
    const lastRun = 'reconciliation_last_run_timestamp';
    expect(await started(at)(lastRun)).toBe(clean.completedAt!.getTime() / 1000);
    await saveFollowerError(test.db.em(), at.opened.stream.id, { reason: 'SOURCE_UNAVAILABLE', message: 'HTTP 503' });
    expect((await at.run()).verdict).toBe('INCONCLUSIVE');
    const shown = started(at);
    expect(await shown('reconciliation_status')).toBe(-1);
    expect(await shown(lastRun)).toBe(clean.completedAt!.getTime() / 1000);
    // A run that somebody started moves neither.
    await at.run({ trigger: 'manual' });
    expect(await started(at)(lastRun)).toBe(clean.completedAt!.getTime() / 1000);
  });
});
