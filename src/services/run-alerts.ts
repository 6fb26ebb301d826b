// What a finished run makes necessary to tell, decided and put into the outbox in the transaction that stores the run.
import type { EntityManager } from '@mikro-orm/postgresql';
import { wordsOf } from '../core/alert-words.ts';
import { decideAlerts, noteTold, type AlertRule } from '../core/alerting.ts';
import { rangeLength } from '../core/coverage.ts';
import type { Policy } from '../core/policy.ts';
import type { Verdict } from '../core/run.ts';
import { countSightings, lockAlertMemory, readStanding, saveAlertMemory } from '../store/alert-states.ts';
import type { Queue } from '../store/queue.ts';
import type { StoredRun } from '../store/runs.ts';
import { sendAlert } from './alerts.ts';
import type { Outcome } from './run-summary.ts';

export interface RunAlerts {
  /** Call it with the `em` of the transaction that stores the run, after its drifts were merged. */
  noteRun(em: EntityManager, run: StoredRun, policy: Policy, verdict: Verdict, outcome: Outcome): Promise<void>;
}

export interface RunAlertsOptions {
  readonly queue: Pick<Queue, 'send'>;
  /** The policy's own, or the environment's. */
  readonly ruleOf: (policy: Policy) => AlertRule;
}

/** Runs that a person started say nothing: whoever started them is looking. */
export function createRunAlerts({ queue, ruleOf }: RunAlertsOptions): RunAlerts {
  return {
    async noteRun(em, run, policy, verdict, outcome) {
      await countSightings(em, run);
      if (run.trigger !== 'scheduled') return;
      const locked = await lockAlertMemory(em, policy.name);
      const standing = await readStanding(em, policy.name);
      const { intervalMs } = policy.schedule;
      const found = { verdict, standing, unreadLedgers: unreadLedgers(outcome), intervalMs };
      const decision = decideAlerts(ruleOf(policy), locked.memory, found, locked.now);
      let { memory } = decision;
      const facts = { policy: policy.name, standing, inconclusive: outcome.inconclusive, now: locked.now };
      for (const due of decision.due) {
        const isSent = await sendAlert(em, queue, {
          ...wordsOf(due, facts),
          kind: due.kind,
          dedupeKey: due.key,
          episode: `${policy.name}/${due.about}/${due.episode}`,
          ...{ policy: policy.name, stream: outcome.frame?.stream.name ?? run.stream, runId: run.id },
          ...{ sandbox: run.sandbox, openKey: null, resolves: null },
        });
        if (!isSent) memory = noteTold(memory, due.key, locked.now);
      }
      await saveAlertMemory(em, policy.name, memory);
    },
  };
}

/** How far the run is from concluding, where reading on is all that it takes; null where somebody has to do something. */
function unreadLedgers({ frame, inconclusive }: Outcome): number | null {
  if (frame === null || inconclusive.some((each) => each.reason !== 'COVERAGE_GAP')) return null;
  const behind = Math.max(0, (frame.follower.tipLedger ?? 0) - frame.headLedger);
  return rangeLength(frame.missing) + behind;
}
