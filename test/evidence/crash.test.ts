// Goal: kill -9 while evidence is recorded and sealed leaves either the old checkpoint or the new one, and every committed manifest. Method: a
// process that does nothing else is killed after a number of manifests chosen by a seed; then the log is checked from its first leaf.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readSigningKey } from '../../src/core/signing-key.ts';
import { worstOf } from '../../src/core/verify.ts';
import { checkLog } from '../../src/core/verify-log.ts';
import { DATABASE_EVIDENCE } from '../../src/store/evidence-database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openEvidenceHouse } from '../_util/evidence-house.ts';
import { newKeyPem, ringOf } from '../_util/evidence-samples.ts';

const CHILD = fileURLToPath(new URL('./_sealing-child.ts', import.meta.url));
const MANIFESTS_BEFORE_KILL = [1, 7, 23];

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

it('killed at any moment, the log is whole and has every manifest that was committed', async () => {
  const pem = newKeyPem();
  const key = readSigningKey(pem);
  const committed: string[] = [];
  for (const count of MANIFESTS_BEFORE_KILL) {
    const child = spawn(process.execPath, [CHILD, test.url, pem], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    let seen = 0;
    for await (const id of createInterface({ input: child.stdout })) {
      committed.push(id);
      if (++seen === count) child.kill('SIGKILL');
    }
    expect((await closed)[1]).toBe('SIGKILL');
    // As it was left: sealed leaves lead to the newest checkpoint's root.
    const newest = await DATABASE_EVIDENCE.findCheckpoint(test.db.em(), null);
    if (newest !== null) {
      const lines = await DATABASE_EVIDENCE.readLeaves(test.db.em(), 0, Number.MAX_SAFE_INTEGER);
      expect(worstOf(checkLog(lines, newest.note, ringOf(key)).checks)).toBe('match');
    }
  }
  const house = await openEvidenceHouse(test.db, { signingKey: key });
  await house.log.seal();
  const { checkpoint } = await house.manifests.checkpoint(null, null);
  const { leaves } = checkLog(
    await DATABASE_EVIDENCE.readLeaves(test.db.em(), 0, checkpoint.size),
    checkpoint.note,
    ringOf(key),
  );
  const logged = leaves.flatMap((leaf) => (leaf.kind === 'manifest' ? [leaf.manifestId] : []));
  expect(new Set(logged).size).toBe(logged.length);
  expect(committed.filter((id) => !logged.includes(id))).toEqual([]);
}, 120_000);
