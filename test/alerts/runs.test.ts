// Goal: what runs find is told once to the right people, over restarts and replicas. Method: houses with real runs and a far side that
// answers as told; time is moved in what is remembered, never waited for.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Alert } from '../../src/core/alert.ts';
import type { AlertMemory, AlertRule } from '../../src/core/alerting.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { lockAlertMemory, saveAlertMemory } from '../../src/store/alert-states.ts';
import { sql } from '../../src/store/database.ts';
import { saveFollowerError, saveTip } from '../../src/store/streams.ts';
import { channelTo, openOutbox } from '../_util/alerts.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { testCaller } from '../_util/services.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../_util/webhook-receiver.ts';

const SHOP = 'GSHOP';
const MINUTE_MS = 60_000;
let test: TestDatabase;
let receiver: WebhookReceiver;
beforeAll(async () => {
  test = await createTestDatabase();
  receiver = await startWebhookReceiver();
});
afterAll(async () => {
  await receiver[Symbol.asyncDispose]();
  await test.drop();
});

const leg = (ledger: number, amount = 50_000_000n) => ({ ledger, account: SHOP, amount });
const row = (at: House, ledger: number, amount = 50_000_000n) => at.row(ledger, { account: SHOP, amount });

/** A house whose ledger has four payments, and whose book has as many of them as it is given. */
async function openShop(booked: readonly number[], rule: Partial<AlertRule> = {}) {
  receiver.received.length = 0;
  const newOutbox = () => openOutbox(test.db, { rule, channels: [channelTo(receiver.url)], maxAttempts: 1 });
  let outbox = newOutbox();
  const at = await openHouse(test.db, {
    alerts: { noteRun: (...call) => outbox.runs.noteRun(...call) },
  });
  await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20), leg(30), leg(40)]);
  await at.record(
    booked.map((ledger) => row(at, ledger)),
    400,
  );
  return {
    at,
    name: at.name,
    /** A run of the timetable, and what came out of it: each alert that it raised, delivered unless told otherwise. */
    async tick(more: { deliver?: boolean } = {}): Promise<string[]> {
      const before = new Set((await outbox.alerts(at.name)).map((each) => each.id));
      await at.run();
      if (more.deliver !== false) await outbox.deliver();
      return (await this.alerts()).filter((each) => !before.has(each.id)).map((each) => each.kind);
    },
    book: (...ledgers: number[]) =>
      at.record(
        ledgers.map((ledger) => row(at, ledger)),
        400,
      ),
    alerts: (): Promise<readonly Alert[]> => outbox.alerts(at.name),
    outbox: () => outbox,
    /** As another process, or this one after its restart: nothing but the database is kept. */
    restart: () => void (outbox = newOutbox()),
    /** What was told becomes so much older. */
    age: (ms: number) =>
      test.db.em().transactional(async (em) => {
        const { memory } = await lockAlertMemory(em, at.name);
        const back = (date: Date) => new Date(date.getTime() - ms);
        const { drift, outage } = memory;
        const aged: AlertMemory = {
          ...memory,
          drift: drift && { ...drift, told: drift.told && { ...drift.told, at: back(drift.told.at) } },
          outage: outage && { ...outage, since: back(outage.since), stalledSince: back(outage.stalledSince) },
        };
        await saveAlertMemory(em, at.name, aged);
      }),
  };
}

describe('drift', () => {
  it('wakes somebody when two runs of the timetable have seen it, with all of it in one message', async () => {
    const shop = await openShop([10]);
    expect(await shop.tick()).toEqual([]);
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
    for (let run = 0; run < 3; run++) expect(await shop.tick()).toEqual([]);
    expect(receiver.received).toHaveLength(1);
    const { type, data } = JSON.parse(receiver.received[0]!.body) as {
      type: string;
      data: { policy: string; title: string; reconciliation_id: string; details: Record<string, string> };
    };
    expect(type).toBe('alert.drift_detected');
    expect(data).toMatchObject({
      policy: shop.name,
      title: `${shop.name}: drift detected, 3 drifts open`,
      details: {
        drifts: '3',
        kinds: 'MISSING_IN_DB 3',
        'value at risk': '15.0000000 native',
        look: `trueup drifts --policy ${shop.name}`,
      },
    });
    expect(Object.keys(data.details).filter((name) => name.startsWith('oldest'))).toHaveLength(3);
    expect((await shop.at.service.get(data.reconciliation_id)).trigger).toBe('scheduled');
  });

  it('of a run that somebody started wakes nobody, however often, and counts for no run of the timetable', async () => {
    const shop = await openShop([10]);
    for (let run = 0; run < 3; run++) await shop.at.run({ trigger: 'manual' });
    expect(await shop.alerts()).toEqual([]);
    expect(await shop.tick()).toEqual([]);
    await shop.at.run({ trigger: 'manual' });
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
  });

  it('that went away and came back must be seen twice anew', async () => {
    const shop = await openShop([10, 20, 30]);
    await shop.tick();
    await shop.book(40);
    await shop.tick();
    await shop.at.record([{ ...row(shop.at, 40), rowId: 'second' }], 400);
    expect(await shop.tick()).toEqual([]);
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
  });

  it('below the threshold, or exempt, wakes nobody', async () => {
    const shop = await openShop([10, 20], { threshold: 3 });
    for (let run = 0; run < 3; run++) expect(await shop.tick()).toEqual([]);
    const exempt = await openShop([10, 20, 30]);
    await exempt.tick();
    await sql(test.db.em(), `update trueup.drifts set state = 'exempt' where policy = $1`, [exempt.name]);
    for (let run = 0; run < 3; run++) expect(await exempt.tick()).toEqual([]);
  });

  it('that grows is told, inside the cooldown and after it, and what stands as it was told never again', async () => {
    const shop = await openShop([10, 20, 30, 40]);
    await shop.at.record([{ ...row(shop.at, 10), rowId: 'twice' }], 400);
    await shop.tick();
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
    await shop.at.record([{ ...row(shop.at, 20), rowId: 'thrice' }], 400);
    expect(await shop.tick()).toEqual([]);
    expect(await shop.tick()).toEqual(['DRIFT_RISING']);
    expect(await shop.tick()).toEqual([]);
    await shop.age(15 * MINUTE_MS);
    expect(await shop.tick()).toEqual([]);
    await shop.at.record([{ ...row(shop.at, 30), rowId: 'four times' }], 400);
    expect(await shop.tick()).toEqual([]);
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
  });

  it('that is gone for two runs is told to be, once', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    await shop.tick();
    await shop.book(20, 30, 40);
    expect([await shop.tick(), await shop.tick(), await shop.tick()]).toEqual([[], ['RESOLVED'], []]);
  });

  it('spends no cooldown while nobody has been told', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    receiver.answer(500);
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
    expect((await shop.alerts())[0]).toMatchObject({ state: 'dead_lettered' });
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
    expect(await shop.tick()).toEqual([]);
    expect((await shop.alerts()).map((each) => each.state)).toEqual(['delivered', 'dead_lettered']);
  });

  it('is not told twice while the first message is on its way, nor resolved before it has arrived', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    expect(await shop.tick({ deliver: false })).toEqual(['DRIFT_DETECTED']);
    await shop.book(20, 30, 40);
    for (let run = 0; run < 3; run++) expect(await shop.tick({ deliver: false })).toEqual([]);
    await shop.outbox().deliver();
    expect(await shop.tick()).toEqual(['RESOLVED']);
  });
});

describe('over processes', () => {
  it('a restart keeps the cooldown', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    await shop.tick();
    shop.restart();
    for (let run = 0; run < 3; run++) expect(await shop.tick()).toEqual([]);
    expect(receiver.received).toHaveLength(1);
  });

  it('two replicas that conclude at the same moment tell it once', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    const [other, third] = [openOutbox(test.db), openOutbox(test.db)];
    const run = await shop.at.run({ trigger: 'manual' });
    const scheduled = { ...run, trigger: 'scheduled' as const };
    const outcome = { frame: null, inconclusive: [] } as never;
    await Promise.all(
      [other, third, shop.outbox()].map(({ runs }) =>
        test.db.em().transactional((em) => runs.noteRun(em, scheduled, shop.at.policy, 'DRIFT_DETECTED', outcome)),
      ),
    );
    expect((await shop.alerts()).map((each) => each.kind)).toEqual(['DRIFT_DETECTED']);
  });

  it('a run that was undone told nobody', async () => {
    const shop = await openShop([10]);
    await shop.tick();
    const run = (await shop.at.service.runOfTick(shop.name, `${shop.name} undone`))!;
    const alerts = {
      noteRun: async (...call: Parameters<ReturnType<typeof shop.outbox>['runs']['noteRun']>) => {
        await shop.outbox().runs.noteRun(...call);
        throw new Error('killed');
      },
    };
    const attempt = { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(60_000) };
    await expect(runReconciliation({ ...shop.at.runDeps, alerts }, run.id, attempt)).rejects.toThrow('killed');
    expect(await shop.alerts()).toEqual([]);
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
  });

  it('the sandbox tells nobody: what it would have said is kept, once, and can not be sent by hand', async () => {
    const shop = await openShop([10]);
    const sandbox = (...[em, run, ...rest]: Parameters<ReturnType<typeof shop.outbox>['runs']['noteRun']>) =>
      shop.outbox().runs.noteRun(em, { ...run, sandbox: true }, ...rest);
    for (let run = 0; run < 4; run++) {
      const { id } = (await shop.at.service.runOfTick(shop.name, `${shop.name} sandbox ${run}`))!;
      const attempt = { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(60_000) };
      await runReconciliation({ ...shop.at.runDeps, alerts: { noteRun: sandbox } }, id, attempt);
    }
    await shop.outbox().deliver();
    expect(receiver.received).toEqual([]);
    const [only, ...more] = await shop.alerts();
    expect(more).toEqual([]);
    expect(only).toMatchObject({ sandbox: true, state: 'suppressed', kind: 'DRIFT_DETECTED' });
    const replayed = failureOf(shop.outbox().service.replay({ id: only!.id, reason: '', requestId: null }, testCaller));
    expect((await replayed).reason).toBe('ALERT_SANDBOX');
  });
});

describe('an inconclusive policy', () => {
  const fail = (shop: Awaited<ReturnType<typeof openShop>>) =>
    saveFollowerError(test.db.em(), shop.at.opened.stream.id, { reason: 'SOURCE_UNAVAILABLE', message: 'HTTP 503' });

  it('alerts after half an hour, once, and is told to be well again after two verdicts', async () => {
    const shop = await openShop([10, 20, 30, 40]);
    await fail(shop);
    expect(await shop.tick()).toEqual([]);
    await shop.age(29 * MINUTE_MS);
    expect(await shop.tick()).toEqual([]);
    await shop.age(MINUTE_MS);
    expect(await shop.tick()).toEqual(['INCONCLUSIVE']);
    const [alert] = await shop.alerts();
    expect(alert).toMatchObject({
      severity: 'ticket',
      details: { 'reason 1': expect.stringContaining('HTTP 503') as string },
    });
    await shop.age(60 * MINUTE_MS);
    expect(await shop.tick()).toEqual([]);
    await saveTip(test.db.em(), shop.at.opened.stream.id, {
      sequence: 400,
      closeTime: shop.at.timeOf(400).getTime() / 1_000,
      oldest: 1,
    });
    expect([await shop.tick(), await shop.tick(), await shop.tick()]).toEqual([[], ['RESOLVED'], []]);
  });

  it('is told of the drift that it has proven all the same', async () => {
    const shop = await openShop([10]);
    await fail(shop);
    expect((await shop.at.run()).verdict).toBe('INCONCLUSIVE');
    expect(await shop.tick()).toEqual(['DRIFT_DETECTED']);
  });

  it('that catches up is left alone, until it stops to', async () => {
    const shop = await openShop([10, 20, 30, 40]);
    const { id } = shop.at.opened.stream;
    // As many ledgers behind a tip that closed an hour after the cut.
    const tip = (sequence: number) =>
      sql(
        test.db.em(),
        `update trueup.followers set tip_ledger = $2, tip_closed_at = $3, last_success_at = now() where stream_id = $1`,
        [id, sequence, new Date(shop.at.timeOf(400).getTime() + 3_600_000)],
      );
    await tip(2_000);
    expect(await shop.tick()).toEqual([]);
    for (const nearer of [1_900, 1_800]) {
      await shop.age(40 * MINUTE_MS);
      await tip(nearer);
      expect(await shop.tick()).toEqual([]);
    }
    await shop.age(40 * MINUTE_MS);
    expect(await shop.tick()).toEqual(['INCONCLUSIVE']);
  });
});
