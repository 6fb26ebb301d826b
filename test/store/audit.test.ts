// Goal: every change leaves one row that can be found again. Method: a real table, written and listed through the store.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findAuditEntry, listAudit, writeAudit } from '../../src/store/audit.ts';
import type { Caller } from '../../src/store/audit.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

let test: TestDatabase;
const caller: Caller = {
  actor: 'ann',
  role: 'operate',
  method: 'trueup.v1.ReconciliationService/TransitionDrifts',
  requestId: 'r-1',
  traceId: 't-1',
  peer: '127.0.0.1',
};
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

describe('the audit log', () => {
  it('keeps who, what, why and both states, and is gone with its transaction', async () => {
    await test.db.em().transactional((em) =>
      writeAudit(em, caller, {
        resourceType: 'drift',
        resourceId: 'a/b',
        reason: 'known fee',
        before: { state: 'open', n: 5n },
        after: { state: 'exempt' },
      }),
    );
    await expect(
      test.db.em().transactional(async (em) => {
        await writeAudit(em, { ...caller, requestId: 'r-2' }, { resourceType: 'drift', resourceId: 'x' });
        throw new Error('no');
      }),
    ).rejects.toThrow();
    expect(await findAuditEntry(test.db.em(), caller.method, 'r-2')).toBeNull();
    expect(await findAuditEntry(test.db.em(), caller.method, 'r-1')).toMatchObject({
      actor: 'ann',
      role: 'operate',
      resourceType: 'drift',
      resourceId: 'a/b',
      reason: 'known fee',
      beforeJson: '{"n": "5", "state": "open"}',
      afterJson: '{"state": "exempt"}',
      traceId: 't-1',
      peer: '127.0.0.1',
    });
  });

  it('pages newest first without gaps or repeats, by any filter', async () => {
    const em = test.db.em();
    for (let n = 0; n < 7; n++)
      await writeAudit(
        em,
        { ...caller, actor: n % 2 === 0 ? 'even' : 'odd', requestId: `p-${n}` },
        { resourceType: 'run', resourceId: String(n) },
      );
    const seen: string[] = [];
    let after = null;
    do {
      const page = await listAudit(em, { size: 2, after }, { actor: 'even' });
      seen.push(...page.items.map((each) => each.resourceId));
      after = page.next;
    } while (after !== null);
    expect(seen).toEqual(['6', '4', '2', '0']);
    const only = async (filter: Parameters<typeof listAudit>[2]) =>
      (await listAudit(em, { size: 50, after: null }, filter)).items.map((each) => each.resourceId);
    expect(await only({ resourceType: 'run', resourceId: '3' })).toEqual(['3']);
    expect(await only({ resourceType: 'drift' })).toEqual(['a/b']);
    expect(await only({ resourceId: 'a/b' })).toEqual(['a/b']);
    expect(await only({ to: new Date(0) })).toEqual([]);
    expect(await only({ from: new Date(0), method: caller.method })).toHaveLength(8);
  });

  it('refuses a page position of another list', async () => {
    await expect(listAudit(test.db.em(), { size: 1, after: { id: '1; drop' } })).rejects.toMatchObject({
      reason: 'INVALID_PAGE_TOKEN',
    });
  });

  it('keeps a note in place of a state that is too large', async () => {
    await writeAudit(
      test.db.em(),
      { ...caller, requestId: 'big' },
      { resourceType: 'run', resourceId: 'big', after: 'x'.repeat(100_000) },
    );
    expect((await findAuditEntry(test.db.em(), caller.method, 'big'))?.afterJson).toBe('{"omitted_bytes": 100002}');
  });
});
