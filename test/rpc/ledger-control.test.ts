// Goal: the operator's calls work through the door as the contract says: checked, audited, for admins only. Method: the whole service
// before a far network in memory, a real client, and the command.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { startApp, type RunningApp } from '../_util/app.ts';
import { eventually } from '../_util/eventually.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake } from '../_util/follow.ts';

const ENV = {
  TRUEUP_SOURCE: 'archive',
  STELLAR_ARCHIVE_URL: 'file:///nowhere',
  TRUEUP_WATCH: 'all',
  TRUEUP_START_LEDGER: '1',
};
let source: FakeSource;
let other: FakeSource;
let app: RunningApp;
beforeAll(async () => {
  source = fake();
  other = fake({ passphrase: source.networkPassphrase });
  app = await startApp(ENV, { source, otherSources: [other] });
  await eventually(async () => expect((await stream()).contiguousThrough).toBe(200), 30_000);
});
afterAll(() => app.close());

async function stream() {
  const { streams } = await app.client.health.getStatus({});
  return { contiguousThrough: streams[0]?.layers[0]?.contiguousThrough, ...streams[0]! };
}

describe('VerifyRange', () => {
  it('answers with counts, digest and trust, and with findings of a second source that differs', async () => {
    const asked = { fromLedger: 1, toLedger: 200 };
    expect(await app.client.backfill.verifyRange(asked)).toMatchObject({
      verdict: contract.RangeVerdict.VERIFIED,
      checkedLedgerCount: 200n,
      checkedEntryCount: 200n,
      trust: contract.CoverageTrust.CHAINED,
      findings: [],
    });
    other.forkAt = 150;
    const checked = await app.client.backfill.verifyRange({ ...asked, reread: true });
    expect(checked.verdict).toBe(contract.RangeVerdict.MISMATCH);
    expect(checked.findings.map(({ failure }) => failure?.reason)).toContain(contract.ErrorReason.SOURCE_DIVERGED);
    await expect(app.client.backfill.verifyRange({ fromLedger: 5, toLedger: 2 })).rejects.toThrow('from_ledger');
  });
});

describe('RestartFollower', () => {
  it('begins again, once for a request id, and is in the audit log', async () => {
    const requestId = randomUUID();
    const call = { reason: 'it hangs', requestId };
    const first = await app.client.backfill.restartFollower(call);
    expect(first.stream?.stream).toBe((await stream()).stream);
    await app.client.backfill.restartFollower(call);
    source.tipLedger = 220;
    await eventually(async () => expect((await stream()).contiguousThrough).toBe(220), 30_000);
    const { auditEntries: entries } = await app.client.health.listAuditEntries({
      method: 'trueup.v1.BackfillService/RestartFollower',
    });
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({ reason: 'it hangs', requestId });
  });
});

describe('RescanFromCheckpoint', () => {
  it('starts a backfill that reads the last ledgers again, finds them the same, and changes nothing', async () => {
    const call = { ledgerCount: 50, reason: 'to be sure', requestId: randomUUID() };
    const { backfill } = await app.client.backfill.rescanFromCheckpoint(call);
    const last = (await stream()).contiguousThrough!;
    expect(backfill).toMatchObject({ toLedger: last, fromLedger: last - 49, reread: true, dryRun: false });
    expect((await app.client.backfill.rescanFromCheckpoint(call)).backfill?.id).toBe(backfill?.id);
    const state = async () => (await app.client.backfill.getBackfill({ backfillId: backfill!.id })).backfill?.state;
    await eventually(async () => expect(await state()).toBe(contract.BackfillState.SUCCEEDED), 60_000);
    expect((await app.client.backfill.verifyRange({ fromLedger: 1, toLedger: last })).verdict).toBe(
      contract.RangeVerdict.VERIFIED,
    );
  });

  it('does not pass over other content: it is an incident', async () => {
    source.tamper = (batch) => ({
      ...batch,
      records: batch.records.map((record) => ({
        ...record,
        entries: record.entries.map((entry) => ({ ...entry, amount: 7n })),
      })),
    });
    const { backfill } = await app.client.backfill.rescanFromCheckpoint({ ledgerCount: 10, reason: 'another content' });
    await eventually(async () => {
      const now = await app.client.backfill.getBackfill({ backfillId: backfill!.id });
      expect(now.backfill?.error?.reason).toBe(contract.ErrorReason.ENTRY_CONFLICT);
    }, 60_000);
    source.tamper = null;
  });
});
