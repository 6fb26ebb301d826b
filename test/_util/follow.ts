// Followers over a fake network, and what they have stored.
import { expect } from 'vitest';
import type { LedgerRange } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { runFollower, type FollowerOptions } from '../../src/services/follower.ts';
import { coverageOf } from '../../src/store/coverage-read.ts';
import { sql, type Database } from '../../src/store/database.ts';
import { currentStream, readFollower, type FollowerRow, type Stream } from '../../src/store/streams.ts';
import { eventually } from './eventually.ts';
import { createFakeSource, type FakeOptions, type FakeSource } from './fake-source.ts';
import { quietEvents } from './services.ts';

let names = 0;

/** A network of its own, 200 ledgers long. */
export const fake = (options: Partial<FakeOptions> = {}): FakeSource =>
  createFakeSource({ passphrase: `Fake network ${++names}`, tip: 200, ...options });

/** A follower that runs until `end`; `done` is its promise. */
export function follow(db: Database, source: FakeSource, more: Partial<FollowerOptions> = {}) {
  const stop = new AbortController();
  const quiet = quietEvents();
  const options: FollowerOptions = {
    db,
    source,
    watch: WATCH_EVERYTHING,
    start: { startLedger: 1, windowHours: 24, sandbox: false },
    endLedger: null,
    pollIntervalMs: 5,
    leaseTtlMs: 2_000,
    holder: 'one',
    events: quiet.events,
    ...more,
  };
  const done = runFollower(options, stop.signal);
  return {
    ...quiet,
    done,
    async end(): Promise<void> {
      stop.abort();
      await done;
    },
    async metric(name: string): Promise<number> {
      const line = (await quiet.metrics.render()).body.split('\n').find((each) => each.startsWith(`${name} `));
      return Number(line?.split(' ')[1]);
    },
  };
}

/** @throws Error while the stream isn't open yet. */
export async function stateOf(db: Database, source: FakeSource): Promise<{ stream: Stream; row: FollowerRow }> {
  const stream = await currentStream(db.em(), source.networkPassphrase);
  const row = stream && (await readFollower(db.em(), stream.id));
  if (!stream || !row) throw new Error('not open yet');
  return { stream, row };
}

export const reached = (db: Database, source: FakeSource, ledger: number): Promise<void> =>
  eventually(async () => expect((await stateOf(db, source)).row.nextLedger).toBe(ledger + 1));

/** Ledgers of the stored entries, and the coverage of everything. */
export async function stored(db: Database, source: FakeSource) {
  const { stream } = await stateOf(db, source);
  const entries = await sql<{ ledger: number }>(
    db.em(),
    'select ledger from trueup.entries where stream_id = $1 order by ledger',
    [stream.id],
  );
  return {
    ledgers: entries.map((entry) => entry.ledger),
    ...(await coverageOf(db.em(), stream.id, 'operations', null)),
  };
}

export const numbers = (range: LedgerRange): number[] =>
  Array.from({ length: range.to - range.from }, (_, i) => range.from + i);
