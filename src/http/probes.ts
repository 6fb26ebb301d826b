// What the metrics port says of the process: alive, ready, well. Three questions with three answers.

/** Whether this process can serve: the database answers and its schema is ours. */
export interface Readiness {
  readonly ready: boolean;
  /** What is missing, in words; empty when ready. */
  readonly problems: readonly string[];
}

/** Whether everything is well, streams and jobs too. */
export interface Wellness {
  readonly healthy: boolean;
  /** What isn't well: its name, the reason and a sentence. */
  readonly degraded: readonly { readonly name: string; readonly reason: string; readonly message: string }[];
}

/** Each answers within probeTimeoutMs or counts as a no. */
export interface ProbeSources {
  readiness(): Promise<Readiness>;
  wellness(): Promise<Wellness>;
}

export interface ProbeAnswer {
  readonly status: 200 | 503;
  readonly body: unknown;
}

export const PROBE_LIMITS = { probeTimeoutMs: 5_000 } as const;

/** That this is answered at all says it: the loop turns. It asks nobody else, or a slow database would kill the process. */
export function livez(): ProbeAnswer {
  return { status: 200, body: { status: 'alive' } };
}

export async function readyz(sources: ProbeSources): Promise<ProbeAnswer> {
  const readiness = await inTime(sources.readiness(), (message): Readiness => ({ ready: false, problems: [message] }));
  if (readiness.ready) return { status: 200, body: { status: 'ready' } };
  return { status: 503, body: { status: 'not ready', problems: readiness.problems } };
}

export async function health(sources: ProbeSources): Promise<ProbeAnswer> {
  const wellness = await inTime(sources.wellness(), (message): Wellness => ({
    healthy: false,
    degraded: [{ name: 'health', reason: 'INTERNAL', message }],
  }));
  if (wellness.healthy) return { status: 200, body: { status: 'healthy' } };
  return { status: 503, body: { status: 'degraded', degraded: wellness.degraded } };
}

/** A probe that fails or hangs is a no, said in words that hold no secrets. */
async function inTime<T>(asked: Promise<T>, otherwise: (message: string) => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<T>((resolve) => {
    timer = setTimeout(
      () => resolve(otherwise(`no answer within ${PROBE_LIMITS.probeTimeoutMs} ms`)),
      PROBE_LIMITS.probeTimeoutMs,
    );
  });
  try {
    return await Promise.race([asked.catch(() => otherwise('the check itself failed')), timeout]);
  } finally {
    clearTimeout(timer);
  }
}
