// A process of its own that imports a made-up CSV: to be killed in the middle, or watched for its memory.
// Arguments: database URL, book, rows, request id ('' for none), row after which it waits for ever (0: never).
import { importBook } from '../../src/services/imports.ts';
import { openDatabase } from '../../src/store/database.ts';

const [url, book, rowCount, requestId, waitAfter] = process.argv.slice(2) as [string, string, string, string, string];
const account = 'GADQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOZPI';

await using db = await openDatabase({ url, poolMax: 4 });
let peakRssBytes = 0;
const startRssBytes = process.memoryUsage.rss();
const started = performance.now();
const caller = {
  actor: 'tester',
  role: 'operate' as const,
  method: 'trueup.v1.ReconciliationService/ImportEntries',
  requestId: '',
  traceId: null,
};
const header = {
  book,
  level: null,
  format: 'csv' as const,
  fileName: null,
  fileSizeBytes: null,
  completeThrough: null,
  requestId: requestId || null,
};
const done = await importBook({ db }, header, chunks(), caller);
const seconds = (performance.now() - started) / 1000;
console.log(
  JSON.stringify({
    state: done.state,
    counts: done.counts,
    startRssBytes,
    peakRssBytes,
    seconds,
    errors: done.errors.slice(0, 3),
  }),
);

async function* chunks(): AsyncGenerator<Buffer> {
  let text = 'key,account,asset,amount,kind,counterparty,status,occurred_at\n';
  for (let row = 0; row < Number(rowCount); row++) {
    text += `${row.toString(16).padStart(64, '0')},${account},native,${row}.5,payment,${account},completed,2026-01-01T00:00:00Z\n`;
    if (text.length >= 256 * 1024) {
      yield Buffer.from(text);
      text = '';
      peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss());
    }
    if (row + 1 === Number(waitAfter)) {
      yield Buffer.from(text);
      text = '';
      console.log('waiting');
      // A timer keeps the process alive until it is killed.
      await new Promise(() => setInterval(() => undefined, 1_000));
    }
  }
  yield Buffer.from(text);
}
