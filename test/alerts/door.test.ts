// Goal: alerts are listed page by page and replayed by whom may, at the door and by the command. Method: the real handlers and service over a
// database; the command against a stub.
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { raiseAlert } from '../../src/services/alerts.ts';
import { ask } from '../cli/terminal.ts';
import { channelTo, openOutbox } from '../_util/alerts.ts';
import { grpcClient } from '../_util/clients.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { startServing, TOKENS } from '../_util/serving.ts';

const { listAlerts, replayAlert } = contract.ReconciliationService.method;
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

it('lists newest first, in pages and filtered, and replays for an admin alone', async () => {
  await using channel = channelTo('http://127.0.0.1:1/');
  const outbox = openOutbox(test.db, { channels: [channel] });
  for (let n = 1; n <= 5; n++) {
    await test.db.em().transactional((em) =>
      raiseAlert(em, outbox.queue, {
        ...{ kind: n === 5 ? 'SLO_BREACH' : 'LEDGER_HEALTH', dedupeKey: `thing-${n}`, policy: null, stream: null },
        ...{ severity: 'ticket', summary: `thing ${n}`, details: { look: 'trueup status', count: `${n}` } },
      }),
    );
  }
  await using serving = await startServing({ ports: { alerts: outbox.service } });
  const client = grpcClient(serving.grpcPort);
  try {
    const list = async (request: Record<string, unknown>) => {
      const { messages } = await client.call(listAlerts, request, TOKENS.read);
      return messages[0] as contract.ListAlertsResponse;
    };
    const titles: string[] = [];
    for (let pageToken = ''; ;) {
      const page = await list({ pageSize: 2, pageToken });
      titles.push(...page.alerts.map((alert) => alert.title));
      pageToken = page.nextPageToken;
      if (pageToken === '') break;
    }
    expect(titles).toEqual(['thing 5', 'thing 4', 'thing 3', 'thing 2', 'thing 1']);
    const filtered = await list({ kinds: [contract.AlertKind.SLO_BREACH], states: [contract.AlertState.PENDING] });
    expect(filtered).toMatchObject({
      totalSize: 1n,
      alerts: [{ title: 'thing 5', body: 'look: trueup status\ncount: 5' }],
    });
    const alertId = filtered.alerts[0]!.id;
    expect((await client.call(replayAlert, { alertId }, TOKENS.operate)).reason).toBe('PERMISSION_DENIED');
    expect((await client.call(replayAlert, { alertId: 'none' }, TOKENS.admin)).reason).toBe('ALERT_NOT_FOUND');
    const replayed = await client.call(replayAlert, { alertId, reason: 'once more' }, TOKENS.admin);
    expect(replayed.messages).toMatchObject([{ alert: { id: alertId, replayCount: 1 } }]);
  } finally {
    client.close();
  }
});

it('shows what became of each alert at the command line, and replays one with a reason', async () => {
  const requests: unknown[] = [];
  const handlers = {
    reconciliation: {
      listAlerts: () =>
        create(contract.ListAlertsResponseSchema, {
          alerts: [
            {
              ...{ id: 'a1', state: contract.AlertState.DEAD_LETTERED, channel: 'webhook', title: 'p: drift detected' },
              attempts: [{ attempt: 1, httpStatus: 500, failure: { message: 'alerts.example answered 500' } }],
            },
          ],
        }),
      replayAlert: (request: contract.ReplayAlertRequest) => {
        requests.push({ alertId: request.alertId, reason: request.reason });
        return create(contract.ReplayAlertResponseSchema, { alert: { id: request.alertId } });
      },
    },
  };
  const { out } = await ask(handlers, ['alerts']);
  expect(out).toContain('dead lettered  p: drift detected\n  a1, webhook, 1 attempt: alerts.example answered 500');
  const replayed = await ask(handlers, ['alerts', 'replay', 'a1', '--reason', 'mended', '--json']);
  expect(replayed.code).toBe(0);
  expect(JSON.parse(replayed.out)).toMatchObject({ id: 'a1' });
  expect(requests).toEqual([{ alertId: 'a1', reason: 'mended' }]);
});
