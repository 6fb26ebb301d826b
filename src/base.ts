// What everything is composed from: the configuration, the log, the database.
import type { Config } from './config/config.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import type { Events } from './telemetry/events.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** What tests put in place of the outside world. */
export interface Overrides {
  readonly source?: Source;
  readonly otherSources?: readonly Source[];
  readonly log?: Logger;
  /** Where log lines go; standard output when absent. */
  readonly logDestination?: { write(line: string): void };
}

export interface Base {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly events: Events;
  readonly db: Database;
  readonly startedAt: Date;
  /** Names this process among replicas. */
  readonly replica: string;
}
