// The scheduler's view of the database and the queue: schedules are rows, a tick is a job sent in the claim's transaction.
import type { Database } from './database.ts';
import type { Queue } from './queue.ts';
import { claimDue, disableSchedulesExcept, upsertSchedule } from './schedules.ts';
import type { ScheduleDefinition } from './schedules.ts';

export interface Timetable {
  /** Makes these the schedules that run, and switches off all others. */
  declare(schedules: readonly ScheduleDefinition[]): Promise<void>;
  /** Claims and enqueues what is due. @returns how many ticks that were */
  claimDue(): Promise<number>;
}

/**
 * While the job of one tick waits or runs, the schedule's next tick is dropped: a run never overlaps another of its
 * schedule, over all replicas.
 */
export function createTimetable(db: Database, queue: Pick<Queue, 'send'>): Timetable {
  return {
    async declare(schedules) {
      await db.em().transactional(async (em) => {
        for (const schedule of schedules) await upsertSchedule(em, schedule);
        await disableSchedulesExcept(
          em,
          schedules.map((each) => each.name),
        );
      });
    },
    async claimDue() {
      const ticks = await claimDue(db.em(), (em, tick) =>
        queue.send(
          em,
          tick.job,
          { schedule: tick.schedule, policy: tick.policy, due_at: tick.dueAt.toISOString() },
          { singletonKey: tick.schedule },
        ),
      );
      return ticks.length;
    },
  };
}
