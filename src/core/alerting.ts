// Who is woken, when and how often: the whole decision, from what a policy was last told and what its newest run found.
//
// | what the timetable's run found                       | what was told before                    | what is due              |
// |------------------------------------------------------|-----------------------------------------|--------------------------|
// | `threshold` drifts that two scheduled runs have seen | nothing                                 | DRIFT_DETECTED           |
// | the same, more of them or more value at risk         | inside the cooldown                     | DRIFT_RISING             |
// | the same, more of them or more value at risk         | the cooldown is over                    | DRIFT_DETECTED again     |
// | the same, unchanged                                  | once, however long ago                  | nothing                  |
// | any of these                                         | a message that is still on its way      | nothing                  |
// | CLEAN, for the second time in a row                  | drifts                                  | RESOLVED                 |
// | INCONCLUSIVE for max(30 min, 3 intervals)            | nothing of it, and it doesn't catch up  | INCONCLUSIVE, once       |
// | a conclusive verdict, for the second time in a row   | that it was inconclusive                | RESOLVED                 |
//
// INCONCLUSIVE never masks: a drift that such a run has proven counts as seen, and is told of. But what couldn't be read resolves
// nothing, so that only CLEAN counts towards RESOLVED. The cooldown begins with a delivery, not with an attempt.

/** The policy's own, or the environment's. */
export interface AlertRule {
  readonly enabled: boolean;
  /** Drifts from which it alerts, 1 or more. */
  readonly threshold: number;
  readonly cooldownMs: number;
}

/** Drifts, open or acknowledged, that two runs of the timetable have seen; exempt and pending ones aren't among them. */
export interface Standing {
  readonly count: number;
  /** Of these, those that nobody has acknowledged. */
  readonly unacknowledged: number;
  /** Minor units by asset. */
  readonly valueAtRisk: Readonly<Record<string, bigint>>;
}

/** A finished run of the timetable. */
export interface RunOutcome {
  readonly verdict: 'CLEAN' | 'DRIFT_DETECTED' | 'INCONCLUSIVE';
  readonly standing: Standing;
  /** Ledgers still to be read, where nothing else keeps the run from concluding; null: waiting alone won't mend it. */
  readonly unreadLedgers: number | null;
  /** Of the policy's schedule. */
  readonly intervalMs: number;
}

type Told = Pick<Standing, 'count' | 'valueAtRisk'>;

/** What a policy was told, as kept between runs. A null story: there is nothing to resolve. */
export interface AlertMemory {
  readonly drift: {
    readonly episode: number;
    readonly messages: number;
    /** What was last delivered, and when; null: nothing yet. */
    readonly told: (Told & { readonly at: Date }) | null;
    /** On its way; null: nothing is. */
    readonly pending: (Told & { readonly key: string }) | null;
  } | null;
  readonly cleanRuns: number;
  readonly outage: {
    readonly episode: number;
    /** When it began. */
    readonly since: Date;
    /** When it last came nearer to its end, or began. */
    readonly stalledSince: Date;
    readonly unreadLedgers: number | null;
    readonly messages: number;
    readonly told: boolean;
    readonly pendingKey: string | null;
  } | null;
  readonly conclusiveRuns: number;
  /** Episodes so far, of either. */
  readonly episodes: number;
}

export interface DueAlert {
  readonly kind: 'DRIFT_DETECTED' | 'DRIFT_RISING' | 'INCONCLUSIVE' | 'RESOLVED';
  readonly about: 'drift' | 'outage';
  /** Names this message among those of the policy; its delivery is noted under it. */
  readonly key: string;
  readonly episode: number;
  /** When what it tells of began; null: not told of yet, or not known. */
  readonly since: Date | null;
}

export const NOTHING_TOLD: AlertMemory = { drift: null, cleanRuns: 0, outage: null, conclusiveRuns: 0, episodes: 0 };

const MIN_OUTAGE_MS = 30 * 60_000;
const MIN_OUTAGE_INTERVALS = 3;
/** A single good run between bad ones is flapping. */
const RUNS_TO_RESOLVE = 2;

export interface Decision {
  readonly memory: AlertMemory;
  readonly due: readonly DueAlert[];
}

/** Call it once for each finished run of the timetable, in their order. */
export function decideAlerts(rule: AlertRule, memory: AlertMemory, outcome: RunOutcome, now: Date): Decision {
  if (!rule.enabled) return { memory: { ...NOTHING_TOLD, episodes: memory.episodes }, due: [] };
  const drift = decideDrift(rule, memory, outcome, now);
  const outage = decideOutage(drift.memory, outcome, now);
  return { memory: outage.memory, due: [...drift.due, ...outage.due] };
}

/** The far side accepted the message, or it counts as told because there is nobody to tell: the cooldown begins. */
export function noteTold(memory: AlertMemory, key: string, at: Date): AlertMemory {
  const { drift, outage } = memory;
  if (drift?.pending?.key === key) {
    const { count, valueAtRisk } = drift.pending;
    return { ...memory, drift: { ...drift, told: { count, valueAtRisk, at }, pending: null } };
  }
  if (outage?.pendingKey === key) return { ...memory, outage: { ...outage, told: true, pendingKey: null } };
  return memory;
}

/** Every attempt failed: nothing was told, so that the next run may try anew. */
export function noteGivenUp(memory: AlertMemory, key: string): AlertMemory {
  const { drift, outage } = memory;
  if (drift?.pending?.key === key) {
    return { ...memory, drift: drift.told === null ? null : { ...drift, pending: null } };
  }
  if (outage?.pendingKey === key) return { ...memory, outage: { ...outage, pendingKey: null } };
  return memory;
}

function decideDrift(rule: AlertRule, before: AlertMemory, outcome: RunOutcome, now: Date): Decision {
  const { standing } = outcome;
  const cleanRuns = outcome.verdict === 'CLEAN' ? before.cleanRuns + 1 : 0;
  const memory = { ...before, cleanRuns };
  const story = memory.drift;
  // One message at a time: what has changed since is told after it has arrived.
  if (story !== null && story.pending !== null) return { memory, due: [] };
  if (outcome.verdict === 'CLEAN') {
    if (story === null || cleanRuns < RUNS_TO_RESOLVE) return { memory, due: [] };
    const due = alertOf('RESOLVED', 'drift', story.episode, story.messages + 1, story.told?.at ?? null);
    return { memory: { ...memory, drift: null }, due: [due] };
  }
  const kind = driftKindDue(rule, story?.told ?? null, standing, now);
  if (kind === null) return { memory, due: [] };
  const episodes = story === null ? memory.episodes + 1 : memory.episodes;
  const { episode, messages, told } = story ?? { episode: episodes, messages: 0, told: null };
  const due = alertOf(kind, 'drift', episode, messages + 1, told?.at ?? null);
  const pending = { key: due.key, count: standing.count, valueAtRisk: standing.valueAtRisk };
  return { memory: { ...memory, episodes, drift: { episode, messages: messages + 1, told, pending } }, due: [due] };
}

function driftKindDue(
  rule: AlertRule,
  told: (Told & { readonly at: Date }) | null,
  standing: Standing,
  now: Date,
): 'DRIFT_DETECTED' | 'DRIFT_RISING' | null {
  if (standing.count < rule.threshold) return null;
  const isNews = told === null ? standing.unacknowledged > 0 : hasGrown(told, standing);
  // What stands as it was told is told once: whoever was woken by it knows.
  if (!isNews) return null;
  const inCooldown = told !== null && now.getTime() - told.at.getTime() < rule.cooldownMs;
  return inCooldown ? 'DRIFT_RISING' : 'DRIFT_DETECTED';
}

/** More drifts, or more of any asset at risk. */
export function hasGrown(told: Told, standing: Told): boolean {
  const { valueAtRisk } = standing;
  return (
    standing.count > told.count ||
    Object.keys(valueAtRisk).some((asset) => valueAtRisk[asset]! > (told.valueAtRisk[asset] ?? 0n))
  );
}

function decideOutage(before: AlertMemory, outcome: RunOutcome, now: Date): Decision {
  return outcome.verdict === 'INCONCLUSIVE' ? inOutage(before, outcome, now) : afterOutage(before);
}

function inOutage(before: AlertMemory, outcome: RunOutcome, now: Date): Decision {
  const { unreadLedgers } = outcome;
  const known = before.outage;
  const begun = { since: now, stalledSince: now, messages: 0, told: false, pendingKey: null };
  const outage = known ?? { ...begun, unreadLedgers, episode: before.episodes + 1 };
  const nearer = unreadLedgers !== null && outage.unreadLedgers !== null && unreadLedgers < outage.unreadLedgers;
  const stalledSince = nearer ? now : outage.stalledSince;
  const memory: AlertMemory = {
    ...before,
    episodes: Math.max(before.episodes, outage.episode),
    conclusiveRuns: 0,
    outage: { ...outage, unreadLedgers, stalledSince },
  };
  const patienceMs = Math.max(MIN_OUTAGE_MS, MIN_OUTAGE_INTERVALS * outcome.intervalMs);
  const isDue = now.getTime() - stalledSince.getTime() >= patienceMs;
  if (!isDue || outage.told || outage.pendingKey !== null) return { memory, due: [] };
  const messages = outage.messages + 1;
  const due = alertOf('INCONCLUSIVE', 'outage', outage.episode, messages, outage.since);
  return { memory: { ...memory, outage: { ...memory.outage!, messages, pendingKey: due.key } }, due: [due] };
}

function afterOutage(before: AlertMemory): Decision {
  const { outage } = before;
  if (outage === null) return { memory: before, due: [] };
  if (outage.pendingKey === null && !outage.told) return { memory: { ...before, outage: null }, due: [] };
  const memory = { ...before, conclusiveRuns: before.conclusiveRuns + 1 };
  if (outage.pendingKey !== null || memory.conclusiveRuns < RUNS_TO_RESOLVE) return { memory, due: [] };
  const due = alertOf('RESOLVED', 'outage', outage.episode, outage.messages + 1, outage.since);
  return { memory: { ...memory, outage: null, conclusiveRuns: 0 }, due: [due] };
}

function alertOf(
  kind: DueAlert['kind'],
  about: DueAlert['about'],
  episode: number,
  message: number,
  since: Date | null,
): DueAlert {
  return { kind, about, key: `${about}/${episode}/${message}`, episode, since };
}
