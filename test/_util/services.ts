// Services over a test database, as the composition root would build them, without ports or clocks.
import type { Events } from '../../src/telemetry/events.ts';
import { createEvents } from '../../src/telemetry/events.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { runFollower, type FollowerOptions } from '../../src/services/follower.ts';
import { currentStream, readFollower } from '../../src/store/streams.ts';
import type { Caller } from '../../src/store/audit.ts';

/** Events whose lines go nowhere and whose metrics can be read. */
export function quietEvents(): { events: Events; metrics: ReturnType<typeof createMetrics> } {
  const metrics = createMetrics();
  return {
    metrics,
    events: createEvents({ metrics, log: createLogger({ level: 'silent', name: 'test', secrets: [] }) }),
  };
}

export const testCaller: Caller = {
  actor: 'test',
  role: 'admin',
  method: 'test',
  requestId: '',
  traceId: '0'.repeat(32),
};

/** Follows until the checkpoint has passed `through` (inclusive), then lets go. */
export async function followThrough(options: FollowerOptions, through: number): Promise<void> {
  const stop = new AbortController();
  const done = runFollower(options, stop.signal);
  try {
    for (;;) {
      const stream = await currentStream(options.db.em(), options.source.networkPassphrase);
      const row = stream && (await readFollower(options.db.em(), stream.id));
      if (row && row.nextLedger > through) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    stop.abort();
    await done;
  }
}
