// The environment and trueup.yaml become one validated Config, or one error that names everything that is wrong.
import { resolve } from 'node:path';
import { messageOf } from '../core/errors.ts';
import { makeWatch, WATCH_EVERYTHING } from '../core/watch.ts';
import type { Policy } from '../core/policy.ts';
import type { Watch } from '../core/watch.ts';
import type { Config, ConfiguredSourceKind } from './config.ts';
import { entriesOf } from './describe-config.ts';
import { defaultPolicies, parseConfigFile } from './policies.ts';
import { Problems } from './problems.ts';
import { readEvidence } from './read-evidence.ts';
import { readVariables } from './read-variables.ts';
import type { DeclaredMarketplace } from './marketplace-schema.ts';
import { readMarketplace } from './read-marketplace.ts';
import { readServing } from './read-serving.ts';
import { readSides, type ReadSides } from './read-sides.ts';
import { chooseSource } from './read-source.ts';
import type { VariableValues } from './variables.ts';

export interface ConfigSurroundings {
  /** Relative paths count from here. */
  readonly cwd: string;
  /** The text of a file; throws where it can't be read (ENOENT as `code`). */
  readonly readFile: (path: string) => string;
}

/** Attempts, base delay and factor of every queued job; fixed, as dashboards and runbooks rely on them. */
const JOBS = { maxAttempts: 5, baseDelayMs: 5000, factor: 2 } as const;
const DEFAULT_CONFIG_FILE = './trueup.yaml';

/**
 * Reads every variable of the table once, checks each alone and then together.
 *
 * @throws TrueUpError INVALID_CONFIGURATION naming all bad variables and keys with their fixes; details.fields has one
 * item each. Values of secrets are not in it.
 */
export function readConfig(
  env: Readonly<Record<string, string | undefined>>,
  surroundings: ConfigSurroundings,
): Config {
  const problems = new Problems();
  const warnings: string[] = [];
  const { values, found } = readVariables(env, problems, warnings);
  const inCwd = (path: string): string => resolve(surroundings.cwd, path);
  const files = {
    read: (name: string, path: string) => readNamedFile(name, inCwd(path), surroundings, problems),
    inCwd,
  };
  const source = chooseSource(values, problems, warnings);
  const watch = readWatch(values, source.kind, problems);
  const book = readBook(values, files, problems);
  const { configFile, policies, sides, urls, marketplace } = readPolicies(
    values,
    watch,
    book !== null,
    files,
    { ...surroundings, env },
    problems,
  );
  const serving = readServing(values, files, problems, warnings);
  const { evidence, signingKeyPem } = readEvidence(values, files, problems, warnings);
  if (values.startLedger !== null && values.endLedger !== null && values.endLedger < values.startLedger) {
    problems.add(
      'TRUEUP_END_LEDGER',
      `${values.endLedger} is before TRUEUP_START_LEDGER ${values.startLedger}. Fix: both are inclusive, the end comes last.`,
    );
  }
  problems.throwIfAny();

  const reconciliation: Config['reconciliation'] = {
    enabled: values.reconciliationEnabled,
    intervalMs: values.reconciliationIntervalMs,
    windowHours: values.windowHours,
    reverifyIntervalMs: values.reverifyIntervalMs,
    configFile,
    policies,
    sides,
    alerts: {
      driftThreshold: values.driftAlertThreshold,
      cooldownMs: values.alertCooldownMs,
      channel: alertChannelOf(values),
    },
  };
  return {
    service: { name: values.serviceName, dataDir: inCwd(values.dataDir), drainTimeoutMs: values.drainTimeoutMs },
    database: { kind: values.databaseUrl === null ? 'embedded' : 'url', maxPoolConnections: values.poolMax },
    serving,
    source: {
      kind: source.kind,
      networkPassphrase: source.networkPassphrase,
      fallbacks: source.fallbacks,
      watch,
      startLedger: values.startLedger,
      endLedgerInclusive: values.endLedger,
      allowPrivateAddresses: values.allowPrivateAddresses,
      pollIntervalMs: values.pollIntervalSecs * 1000,
      requestsPerSecond: values.requestsPerSecond,
      retry: {
        maxAttempts: values.rpcMaxAttempts,
        initialBackoffMs: values.rpcInitialBackoffMs,
        maxBackoffMs: values.rpcMaxBackoffSecs * 1000,
      },
      circuitBreaker: {
        failureThreshold: values.circuitFailureThreshold,
        windowMs: values.circuitWindowMs,
        cooldownMs: values.circuitCooldownMs,
      },
      sandbox: {
        seed: values.sandboxSeed,
        ledgersPerSecond: values.sandboxLedgersPerSecond,
        faults: [...new Set(values.sandboxFaults ?? [])],
      },
    },
    backfill: { workers: values.backfillWorkers, retentionDays: values.backfillRetentionDays },
    book,
    reconciliation,
    evidence,
    marketplace: readMarketplace(values, marketplace),
    jobs: JOBS,
    telemetry: { logLevel: values.logLevel, paymentsPrefix: values.metricsPrefix ?? '' },
    warnings,
    entries: entriesOf(found, reconciliation),
    secrets: {
      signingKeyPem,
      databaseUrl: values.databaseUrl,
      bookUrl: values.bookUrl,
      marketplaceUrl: values.marketplaceUrl,
      sideUrls: urls,
      sourceUrl: source.url,
      otherSourceUrls: source.otherUrls,
      alertWebhookUrl: values.alertWebhookUrl ?? values.slackWebhookUrl,
      alertWebhookSecret: values.alertWebhookSecret,
    },
  };
}

/** Slack's own host is Slack whatever the variable is called; what SLACK_WEBHOOK_URL names speaks like it. */
function alertChannelOf({ alertWebhookUrl, slackWebhookUrl }: VariableValues): 'slack' | 'webhook' | null {
  if (alertWebhookUrl === null) return slackWebhookUrl === null ? null : 'slack';
  return /(^|\.)slack\.com$/i.test(new URL(alertWebhookUrl).hostname) ? 'slack' : 'webhook';
}

/** Files named by variables: absolute paths, and texts that are undefined after a problem was noted. */
export interface NamedFiles {
  readonly read: (variable: string, path: string) => string | undefined;
  readonly inCwd: (path: string) => string;
}

function readWatch(values: VariableValues, kind: ConfiguredSourceKind, problems: Problems): Watch {
  const accounts = values.watchAccounts ?? [];
  const contracts = values.watchContracts ?? [];
  const listed = accounts.length + contracts.length > 0;
  if (values.watch === 'all') {
    if (listed)
      problems.add(
        'TRUEUP_WATCH',
        '"all" contradicts TRUEUP_WATCH_ACCOUNTS or TRUEUP_WATCH_CONTRACTS. Fix: keep one of them.',
      );
    return WATCH_EVERYTHING;
  }
  if (listed) return makeWatch(accounts, contracts);
  if (kind === 'sandbox') return WATCH_EVERYTHING;
  problems.add(
    'TRUEUP_WATCH_ACCOUNTS',
    'is unset, and so is TRUEUP_WATCH_CONTRACTS: nothing would be watched. Fix: list your accounts there, or say TRUEUP_WATCH=all if you mean the whole network.',
  );
  return makeWatch([]);
}

function readBook(values: VariableValues, files: NamedFiles, problems: Problems): Config['book'] {
  if (values.bookQueryFile === null) {
    if (values.bookUrl !== null)
      problems.add(
        'TRUEUP_BOOK_QUERY_FILE',
        'is unset though TRUEUP_BOOK_URL is set. Fix: name a file with one SELECT of your rows.',
      );
    return null;
  }
  if (values.bookUrl === null) {
    problems.add(
      'TRUEUP_BOOK_URL',
      'is unset though TRUEUP_BOOK_QUERY_FILE is set. Fix: set the URL of your database, through a read-only role.',
    );
  }
  const query = files.read('TRUEUP_BOOK_QUERY_FILE', values.bookQueryFile);
  if (query !== undefined && query.trim() === '')
    problems.add('TRUEUP_BOOK_QUERY_FILE', 'names an empty file. Fix: write one SELECT into it.');
  return { queryFile: files.inCwd(values.bookQueryFile), query: query ?? '' };
}

function readPolicies(
  values: VariableValues,
  watch: Watch,
  hasPostgresBook: boolean,
  files: NamedFiles,
  surroundings: ConfigSurroundings & { readonly env: Readonly<Record<string, string | undefined>> },
  problems: Problems,
): {
  configFile: string | null;
  policies: readonly Policy[];
  marketplace?: DeclaredMarketplace | undefined;
} & ReadSides {
  const fallbacks = { windowHours: values.windowHours, intervalMs: values.reconciliationIntervalMs };
  const byName = values.configFile ?? DEFAULT_CONFIG_FILE;
  const content =
    values.configFile === null
      ? readIfThere(files.inCwd(DEFAULT_CONFIG_FILE), surroundings, problems)
      : files.read('TRUEUP_CONFIG', values.configFile);
  const book: Policy['book'] = hasPostgresBook ? { kind: 'postgres' } : { kind: 'recorded', name: 'default' };
  const ofEnvironment = defaultPolicies(book, fallbacks);
  if (content === undefined) return { configFile: null, policies: ofEnvironment, sides: {}, urls: {} };
  const { sides, marketplace, ...declared } = parseConfigFile(byName, content, fallbacks, problems);
  const policies = declared.policies.length > 0 ? declared.policies : ofEnvironment;
  const watched = new Set([...watch.accounts, ...watch.contracts]);
  for (const policy of policies) {
    if (policy.book.kind === 'postgres' && !hasPostgresBook) {
      problems.add(
        `${byName}: policy ${policy.name}`,
        'reads the book `postgres`, which is not configured. Fix: set TRUEUP_BOOK_URL and TRUEUP_BOOK_QUERY_FILE.',
      );
    }
    const unwatched =
      watch.everything || policy.ledger.kind !== 'stream'
        ? []
        : (policy.scope.accounts ?? []).filter((account) => !watched.has(account));
    if (unwatched.length > 0) {
      problems.add(
        `${byName}: policy ${policy.name}`,
        `has ${unwatched.length} accounts in its scope that are not watched, ${unwatched[0]} first. Fix: add them to TRUEUP_WATCH_ACCOUNTS or TRUEUP_WATCH_CONTRACTS.`,
      );
    }
  }
  const read = readSides(sides, byName, surroundings.env, files, problems);
  return { configFile: files.inCwd(byName), policies, marketplace, ...read };
}

function readNamedFile(
  variable: string,
  path: string,
  { readFile }: ConfigSurroundings,
  problems: Problems,
): string | undefined {
  try {
    return readFile(path);
  } catch (error) {
    problems.add(
      variable,
      `names ${JSON.stringify(path)}, which can't be read: ${messageOf(error)}. Fix: correct the path or its permissions.`,
    );
    return undefined;
  }
}

/** The default file may be absent, but one that is there and can't be read is a mistake worth a stop. */
function readIfThere(path: string, { readFile }: ConfigSurroundings, problems: Problems): string | undefined {
  try {
    return readFile(path);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return undefined;
    problems.add(
      DEFAULT_CONFIG_FILE,
      `can't be read: ${messageOf(error)}. Fix: correct its permissions, or remove it.`,
    );
    return undefined;
  }
}
