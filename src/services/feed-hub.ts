// Fanning events out: numbered, kept for a while for those who lost their stream, and bounded for those who are slow.
import { TrueUpError } from '../core/errors.ts';
import type { StatusEvent } from '../core/status.ts';

/** An event before it has its number. */
export type FeedEvent = StatusEvent extends infer Each
  ? Each extends StatusEvent
    ? Omit<Each, 'sequence'>
    : never
  : never;

export interface FeedLimits {
  /** Events kept for those who resume. */
  readonly maxKeptEvents: number;
  /** Events that wait for one slow watcher. */
  readonly maxQueuedEvents: number;
}

export interface Subscription {
  /** The next event for this watcher; rejects with the signal's reason. */
  next(signal: AbortSignal): Promise<StatusEvent>;
  close(): void;
}

export class FeedHub {
  readonly #limits: FeedLimits;
  readonly #first: bigint;
  readonly #queues = new Set<Queue>();
  #sequence: bigint;
  #kept: StatusEvent[] = [];
  #dropped = false;

  /** @param startSequence numbers rise from here; above those of every earlier process, so that theirs are known as gone. */
  constructor(limits: FeedLimits, startSequence: bigint) {
    this.#limits = limits;
    this.#first = startSequence;
    this.#sequence = startSequence;
  }

  get sequence(): bigint {
    return this.#sequence;
  }

  get watchers(): number {
    return this.#queues.size;
  }

  publish(event: FeedEvent): void {
    const numbered = { ...event, sequence: ++this.#sequence } as StatusEvent;
    this.#kept.push(numbered);
    if (this.#kept.length > 2 * this.#limits.maxKeptEvents) {
      this.#kept = this.#kept.slice(-this.#limits.maxKeptEvents);
      this.#dropped = true;
    }
    for (const queue of this.#queues) queue.offer(numbered);
  }

  /** The newest kept events that match, oldest first. */
  newest(matches: (event: StatusEvent) => boolean, count: number): StatusEvent[] {
    return count === 0 ? [] : this.#kept.filter(matches).slice(-count);
  }

  /**
   * From now on, or from after a number: what is kept since then waits in the subscription already.
   *
   * @throws TrueUpError SEQUENCE_EXPIRED where events after the number are no longer kept, or it is not one of this process.
   */
  subscribe(matches: (event: StatusEvent) => boolean, since: bigint | null): Subscription {
    const queue = new Queue(matches, this.#limits.maxQueuedEvents, () => this.#queues.delete(queue));
    if (since !== null) {
      const oldest = this.#dropped ? this.#kept[0]!.sequence - 1n : this.#first;
      if (since < oldest || since > this.#sequence) {
        throw new TrueUpError('SEQUENCE_EXPIRED', `events after ${since} are no longer kept by this process`, {
          fix: 'watch again without since_sequence: the stream then begins with the present state',
        });
      }
      for (const event of this.#kept) if (event.sequence > since) queue.offer(event);
    }
    this.#queues.add(queue);
    return queue;
  }
}

/**
 * What waits for one watcher. A state replaces the older state of the same thing, so a slow watcher gets the newest one instead of
 * a growing queue; of what can't be replaced, lines of activity go first, the oldest of them.
 */
class Queue implements Subscription {
  readonly #matches: (event: StatusEvent) => boolean;
  readonly #maxEvents: number;
  readonly #onClose: () => void;
  readonly #waiting = new Map<string, StatusEvent>();
  #wake: (() => void) | null = null;

  constructor(matches: (event: StatusEvent) => boolean, maxEvents: number, onClose: () => void) {
    this.#matches = matches;
    this.#maxEvents = maxEvents;
    this.#onClose = onClose;
  }

  offer(event: StatusEvent): void {
    if (!this.#matches(event)) return;
    const key = keyOf(event);
    // Put last, so that what is handed out stays in the order of the numbers.
    this.#waiting.delete(key);
    this.#waiting.set(key, event);
    if (this.#waiting.size > this.#maxEvents) this.#dropOne();
    this.#wake?.();
  }

  async next(signal: AbortSignal): Promise<StatusEvent> {
    for (;;) {
      signal.throwIfAborted();
      const first = this.#waiting.entries().next();
      if (!first.done) {
        this.#waiting.delete(first.value[0]);
        return first.value[1];
      }
      await this.#arrival(signal);
    }
  }

  close(): void {
    this.#waiting.clear();
    this.#onClose();
  }

  #dropOne(): void {
    for (const [key, event] of this.#waiting) {
      if (event.topic === 'activity') {
        this.#waiting.delete(key);
        return;
      }
    }
    this.#waiting.delete(this.#waiting.keys().next().value!);
  }

  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        this.#wake = null;
        resolve();
      };
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

function keyOf(event: StatusEvent): string {
  switch (event.topic) {
    case 'streams':
      return `stream ${event.stream.stream}`;
    case 'reconciliations':
      return `run ${event.run.id}`;
    case 'drifts':
      return `drift ${event.drift.id}`;
    case 'alerts':
      return `alert ${event.alert.id}`;
    case 'schedules':
      return `schedule ${event.schedule.name}`;
    case 'usage':
      return 'usage';
    case 'activity':
      return `activity ${event.sequence}`;
  }
}
