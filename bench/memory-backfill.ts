// The process whose memory bench/backfill-memory.ts measures: works on one backfill with two shares at once, and reports its peak.
import { openDatabase } from '../src/store/database.ts';
import { runBackfill } from './backfill-job.ts';
import { shiftedReads } from './shifted.ts';
import { openTestnet } from './testnet.ts';

const [url, ledgers] = [process.argv[2]!, Number(process.argv[3])];
await using db = await openDatabase({ url });
let left = ledgers;
await runBackfill({
  ...{ db, source: shiftedReads(openTestnet()), last: ledgers, workers: 2 },
  onChunk({ range }) {
    left -= range.to - range.from;
    return left === 0;
  },
});
process.send!(process.resourceUsage().maxRSS / 1024, () => process.disconnect());
