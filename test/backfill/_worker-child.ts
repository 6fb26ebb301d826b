// A process that works on backfills over a network in memory, to be killed or stopped at any moment.
// Arguments: database URL, passphrase, tip, lease in milliseconds, pause of each read in milliseconds.
import { flushCompileCache } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { runBackfillWorker } from '../../src/services/backfill-worker.ts';
import { createBell } from '../../src/services/bell.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createFakeSource } from '../_util/fake-source.ts';
import { quietEvents } from '../_util/services.ts';
import { killEntries } from './_kill-entries.ts';

const [url, passphrase, tip, leaseMs, readMs] = process.argv.slice(2) as [string, string, string, string, string];
const db = await openDatabase({ url, poolMax: 4 });
const source = createFakeSource({ passphrase, tip: Number(tip), entries: killEntries, maxSpanLedgers: 16 });
const read = source.read.bind(source);
source.read = async (request, signal) => {
  if (Number(readMs) > 0) await sleep(Number(readMs), undefined, { signal });
  return read(request, signal);
};
const worker = runBackfillWorker(
  {
    db,
    sources: [source],
    holder: `child ${process.pid}`,
    workers: 2,
    leaseMs: Number(leaseMs),
    bell: createBell(),
    events: quietEvents().events,
  },
  new AbortController().signal,
);
// Who is killed writes no cache at its end, and the next one would compile everything again.
flushCompileCache();
console.log('working');
await worker;
