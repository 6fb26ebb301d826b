// The process whose memory bench/memory.ts measures: follows the sandbox into the database it is told, and reports.
import { createSandboxSource, SANDBOX_STARTED_AT_MS } from '../src/sources/sandbox.ts';
import { openDatabase } from '../src/store/database.ts';
import { followTo } from './follow.ts';
import type { MemoryReport } from './memory.ts';

const MIB = 1024 * 1024;

const [url, ledgers] = [process.argv[2]!, Number(process.argv[3])];
await using db = await openDatabase({ url });
// One operation a ledger, in both layers; by its clock the last ledger has just closed.
const source = createSandboxSource({ opsPerLedger: 1, now: () => SANDBOX_STARTED_AT_MS + ledgers * 1_000 });
const samples: { readonly ledger: number; readonly mib: number }[] = [];
await followTo(db, source, ledgers, ({ range }) => {
  samples.push({ ledger: range.to, mib: process.memoryUsage.rss() / MIB });
});
const report: MemoryReport = {
  // The kernel's own peak: samples miss what rises and falls between two of them.
  peakMib: process.resourceUsage().maxRSS / 1024,
  secondQuarterMib: meanBetween(0.25, 0.5),
  secondHalfMib: meanBetween(0.5, 1),
};
process.send!(report, () => process.disconnect());

function meanBetween(from: number, to: number): number {
  const chosen = samples.filter(({ ledger }) => ledger > from * ledgers && ledger <= to * ledgers + 1);
  return chosen.reduce((sum, { mib }) => sum + mib, 0) / chosen.length;
}
