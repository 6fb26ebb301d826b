// Composes an operator's hand on the ledger: checks, restarts, rescans, and what looks after history by itself.
import type { Config } from './config/config.ts';
import type { RpcPorts } from './rpc/ports.ts';
import { raiseAlert } from './services/alerts.ts';
import { rescanFromCheckpoint, restartFollower } from './services/follower-control.ts';
import type { HealthService } from './services/health.ts';
import { backfillNewMembers } from './services/new-members.ts';
import { quarantineAt, quarantinePage } from './services/quarantines.ts';
import { watchRetention } from './services/retention.ts';
import { verifyRange } from './services/verify-range.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import type { Queue } from './store/queue.ts';

export interface ControllingDeps {
  readonly db: Database;
  readonly queue: Queue;
  readonly config: Config;
  /** In the order in which they are asked; the first is the one that is followed. */
  readonly sources: readonly [Source, ...Source[]];
  readonly backfills: Pick<RpcPorts['backfills'], 'start'>;
  readonly health: Pick<HealthService, 'status'>;
}

const START = { source: null, dryRun: false, limits: null, planOf: null } as const;

export function composeControl({ db, queue, config, sources, backfills, health }: ControllingDeps) {
  const [{ networkPassphrase, layers }] = sources;
  const followed = { db, networkPassphrase };
  const port: RpcPorts['control'] = {
    verifyRange: (call, signal) => verifyRange({ ...followed, sources, watch: config.source.watch }, call, signal),
    listQuarantines: (filter, page) => quarantinePage(followed, filter, page),
    getQuarantine: (at) => quarantineAt(followed, at),
    async restart(call, asker) {
      const stream = await restartFollower(followed, call, asker);
      return (await health.status(stream)).streams[0]!;
    },
    rescan: (call, asker) =>
      rescanFromCheckpoint(
        {
          ...followed,
          startReread: ({ layer = null, ...reread }) =>
            backfills.start({ ...START, ...reread, layer, watch: [], reread: true }, asker),
        },
        call,
      ),
  };
  return {
    port,
    /** One look each, for the timetable. */
    watchRetention: () =>
      watchRetention({
        ...followed,
        layers,
        endLedger: config.source.endLedgerInclusive,
        raise: (em, alert) => raiseAlert(em, queue, alert),
      }),
    backfillNewMembers: () =>
      backfillNewMembers({ ...followed, layers, startBackfill: (call, asker) => backfills.start(call, asker) }),
  };
}
