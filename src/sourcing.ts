// Composes the sources: one HTTP client for all of them, the one that is followed, and those behind it.
import type { Config } from './config/config.ts';
import { isTrueUpError, messageOf, TrueUpError } from './core/errors.ts';
import { createOtherSources, createSource } from './sources/create-source.ts';
import { createHttpClient, systemClock } from './sources/http/client.ts';
import { createPacer } from './sources/http/pacer.ts';
import { DEFAULT_RETRY } from './sources/http/retry.ts';
import {
  SANDBOX_STARTED_AT_MS,
  sandboxStartLedger,
  type SandboxOptions,
  type SandboxSource,
} from './sources/sandbox.ts';
import { faultsNamed } from './sources/sandbox/faults.ts';
import { createSourceSet } from './sources/source-set.ts';
import type { Source } from './sources/source.ts';
import { claimRequests, deferRequests } from './store/source-budgets.ts';
import { VERSION } from './version.ts';
import type { Base, Overrides } from './base.ts';

/** Waiting for a source at start any longer would keep a service from starting that can serve what it has. */
const SOURCE_CHECK_TIMEOUT_MS = 3_000;

export type Sources = Awaited<ReturnType<typeof composeSources>>;

export async function composeSources({ config, db, events }: Base, overrides: Overrides) {
  const isSandbox = config.source.kind === 'sandbox';
  const http = createHttpClient({
    ...config.source.retry,
    breaker: config.source.circuitBreaker,
    allowPrivateAddresses: config.source.allowPrivateAddresses,
    operatorUrls: [config.secrets.sourceUrl, ...Object.values(config.secrets.otherSourceUrls).flat()].filter(
      (url) => url !== null,
    ),
    userAgent: `trueup/${VERSION}`,
    pacer: createPacer({
      budget: {
        claim: (host, count) => claimRequests(db.em(), host, count, config.source.requestsPerSecond),
        defer: (host, waitMs) => deferRequests(db.em(), host, waitMs),
      },
      requestsPerSecond: config.source.requestsPerSecond,
      maxWaitMs: DEFAULT_RETRY.maxRetryAfterMs,
      clock: systemClock,
    }),
    onEvent: (event) => events.httpClient(config.source.kind, event),
  });
  const sandbox = sandboxOptions(config);
  const followed =
    overrides.source ??
    (await createSource(
      { ...config.source, url: config.secrets.sourceUrl, sandbox },
      http,
      AbortSignal.timeout(SOURCE_CHECK_TIMEOUT_MS),
    ));
  const otherSources =
    overrides.source === undefined
      ? await createOtherSources(config.secrets.otherSourceUrls, followed, { ...config.source, sandbox }, http)
      : (overrides.otherSources ?? []);
  const fallbacks = config.source.fallbacks.flatMap((kind) => otherSources.filter((each) => each.kind === kind));
  const set = createSourceSet({
    sources: [followed, ...fallbacks],
    onSwitch: ({ from, to, error }) => events.sourceSwitched({ from, to, error }),
  });
  const source = fallbacks.length === 0 ? followed : set;
  const startLedger =
    config.source.startLedger ?? (isSandbox ? sandboxStartLedger(source as SandboxSource, Date.now()) : null);
  return {
    /** What is read: the followed source, with its fallbacks behind it. */
    source,
    followed,
    otherSources,
    network: source.networkPassphrase,
    startLedger,
    sandbox,
    members: () => set.members(),
    circuitState: (host: string) => http.breakers()[host]?.state ?? 'CLOSED',
    check: (signal: AbortSignal): Promise<void> =>
      checkSource(source, startLedger, config, AbortSignal.any([signal, AbortSignal.timeout(SOURCE_CHECK_TIMEOUT_MS)])),
    async close(): Promise<void> {
      for (const each of [followed, ...otherSources]) await each.close();
      await http.close();
    },
  };
}

function sandboxOptions(config: Config): SandboxOptions {
  const { seed, ledgersPerSecond, faults } = config.source.sandbox;
  return {
    seed,
    ledgersPerSecond,
    startedAtMs: SANDBOX_STARTED_AT_MS,
    faults: faultsNamed(faults, config.source.startLedger ?? 1),
  };
}

/** Reasons for which no amount of waiting helps: somebody has to change the configuration. */
const FATAL = ['SOURCE_WRONG_NETWORK', 'SOURCE_ADDRESS_FORBIDDEN', 'INVALID_CONFIGURATION'] as const;

async function checkSource(
  source: Source,
  startLedger: number | null,
  config: Config,
  signal: AbortSignal,
): Promise<void> {
  try {
    const tip = await source.tip(signal);
    const end = config.source.endLedgerInclusive;
    const variable =
      startLedger !== null && (startLedger < tip.oldest || startLedger > tip.sequence) ? 'TRUEUP_START_LEDGER' : null;
    if (variable !== null || (end !== null && end < tip.oldest)) {
      throw new TrueUpError(
        'INVALID_CONFIGURATION',
        `${variable ?? 'TRUEUP_END_LEDGER'} ${variable === null ? end : startLedger} is outside what ${source.id} serves: ledgers ${tip.oldest}-${tip.sequence}`,
        { fix: `choose a ledger between ${tip.oldest} and ${tip.sequence}, or a source with older history` },
      );
    }
  } catch (error) {
    if (isTrueUpError(error, ...FATAL)) {
      throw new TrueUpError('INVALID_CONFIGURATION', messageOf(error), { ...error.details, cause: error });
    }
  }
}
