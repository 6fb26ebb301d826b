// Goal: kill -9 during an export leaves it whole with its manifest, or to be done again, and never half an artifact that anyone is shown.
// Method: a process that does nothing else is killed at moments chosen at random; then every export, manifest and file is looked at.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ExportJob } from '../../src/core/export.ts';
import { removeOrphans } from '../../src/services/orphan-artifacts.ts';
import { cases, patience } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { newKeyPem } from '../_util/evidence-samples.ts';
import { randomFrom } from '../_util/random.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { openExporting } from './_exporting.ts';

const CHILD = fileURLToPath(new URL('./_exporting-child.ts', import.meta.url));
const LEDGERS = 4_096;
/** About as long as one of these exports takes. */
const MAX_DELAY_MS = 60;
const TWO_DAYS_MS = 2 * 86_400_000;

let test: TestDatabase;
let house: House;
let folder: string;
beforeAll(async () => {
  test = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'trueup-killed-exports-'));
  house = await openHouse(test.db);
  const entries = Array.from({ length: LEDGERS - 1 }, (_, i) => ({ ledger: i + 1, account: 'GA', amount: 5n }));
  await house.ledgers({ from: 1, to: LEDGERS }, entries);
});
afterAll(async () => {
  await test.drop();
  rmSync(folder, { recursive: true, force: true });
});

it(
  'killed at any moment, an export is whole or not there, and is done again',
  async () => {
    const { numRuns, seed = 1 } = cases(8);
    const random = randomFrom(seed);
    const keyPem = newKeyPem();
    const options = { db: test.db, folder, networkPassphrase: house.name, keyPem };
    for (let i = 0; i < numRuns; i++) {
      const child = spawn(process.execPath, [CHILD, test.url, folder, house.name, keyPem], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const closed = once(child, 'close');
      for await (const line of createInterface({ input: child.stdout })) {
        if (!line.startsWith('begun')) continue;
        await sleep(random() * MAX_DELAY_MS);
        child.kill('SIGKILL');
        break;
      }
      expect((await closed)[1]).toBe('SIGKILL');
    }
    const { exports, evidence, artifacts, work } = await openExporting(options);
    const everything = { size: 1_000, after: null };
    const jobs = async (): Promise<readonly ExportJob[]> => (await exports.service.list({}, everything)).items;
    const checkAll = async (): Promise<void> => {
      const { items: manifests } = await evidence.manifests.list({}, everything);
      const completed = (await jobs()).filter(({ state }) => state === 'completed');
      expect(manifests.map(({ record }) => record.id).sort()).toEqual(completed.map((job) => job.manifestId).sort());
      for (const { record } of manifests) {
        const { outcome, checks } = await evidence.manifests.verify(record.id, null, AbortSignal.timeout(60_000));
        expect(outcome, JSON.stringify(checks)).toBe('match');
      }
    };

    await evidence.log.seal();
    await checkAll();
    const interrupted = (await jobs()).filter(({ state }) => state !== 'completed');
    // Else nothing was interrupted, and nothing is proven.
    expect(interrupted.length).toBeGreaterThan(0);
    expect(interrupted.every(({ state, manifestId }) => state !== 'failed' && manifestId === null)).toBe(true);

    for (const { id } of interrupted) await work(id);
    await evidence.log.seal();
    expect((await jobs()).every(({ state }) => state === 'completed')).toBe(true);
    await checkAll();

    await removeOrphans({ db: test.db, artifacts, isKept: evidence.isKept }, new Date(Date.now() + TWO_DAYS_MS));
    expect(readdirSync(folder).sort()).toEqual((await jobs()).map((job) => job.artifactId).sort());
    await checkAll();
  },
  patience(300_000),
);
