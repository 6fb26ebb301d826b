// What may be shown of the settings: an allow-list, written out, so that a new setting stays hidden until somebody adds it.
import type { Config, Secrets } from './config.ts';
import { printBind } from './read-serving.ts';

export type Described = { readonly [key: string]: string | number | boolean | null | readonly string[] | Described };

/** For diagnostics. Secrets are `set` or `unset`, never a part of them; of a source URL only scheme and host remain. */
export function describeConfig(config: Config): Described {
  const { service, database, serving, source, reconciliation, secrets } = config;
  return {
    service: { name: service.name, dataDir: service.dataDir, drainTimeoutMs: service.drainTimeoutMs },
    database: { kind: database.kind, maxPoolConnections: database.maxPoolConnections },
    serving: {
      grpc: printBind(serving.grpc),
      http: printBind(serving.http),
      metrics: printBind(serving.metrics),
      tls: serving.tls === null ? 'off' : serving.tls.clientCaFile === null ? 'server' : 'mutual',
      tokens: serving.tokensFile === null ? 'none' : 'file',
    },
    source: {
      kind: source.kind,
      endpoint: secrets.sourceUrl === null ? null : displayUrl(secrets.sourceUrl),
      networkPassphrase: source.networkPassphrase,
      watch: source.watch.everything ? 'all' : `${source.watch.accounts.length} accounts, ${source.watch.contracts.length} contracts`,
      startLedger: source.startLedger,
      endLedgerInclusive: source.endLedgerInclusive,
      allowPrivateAddresses: source.allowPrivateAddresses,
      pollIntervalMs: source.pollIntervalMs,
      retry: { ...source.retry },
      circuitBreaker: { ...source.circuitBreaker },
      ...(source.kind === 'sandbox' && {
        sandbox: { seed: source.sandbox.seed, ledgersPerSecond: source.sandbox.ledgersPerSecond, faults: source.sandbox.faults },
      }),
    },
    book: config.book === null ? 'recorded' : 'postgres',
    reconciliation: {
      enabled: reconciliation.enabled,
      intervalMs: reconciliation.intervalMs,
      windowHours: reconciliation.windowHours,
      configFile: reconciliation.configFile,
      policies: reconciliation.policies.map((policy) => policy.name),
      alerts: { ...reconciliation.alerts },
    },
    jobs: { ...config.jobs },
    telemetry: { logLevel: config.telemetry.logLevel },
    warnings: config.warnings,
    secrets: {
      databaseUrl: presence(secrets.databaseUrl),
      bookUrl: presence(secrets.bookUrl),
      sourceUrl: presence(secrets.sourceUrl),
      alertWebhookUrl: presence(secrets.alertWebhookUrl),
    },
  };
}

/** Scheme and host, and the path of a file: URL; never user, password, query, or the path of a web address. */
export function displayUrl(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null) return '[not a URL]';
  if (parsed.protocol === 'file:') return `file://${parsed.pathname}`;
  return `${parsed.protocol}//${parsed.host}`;
}

/** Shortest text that is blanked out by value; anything shorter would blank out innocent words. */
const minSecretChars = 6;
/** From this length on a path segment of a URL is taken for a key, as providers and webhooks put theirs there. */
const minPathKeyChars = 16;

/** Every text that must not appear in a log line: whole secret URLs, and their passwords, queries and keys in paths. */
export function secretValues(secrets: Secrets): string[] {
  const found = new Set<string>();
  const whole = [secrets.databaseUrl, secrets.bookUrl, secrets.alertWebhookUrl];
  for (const url of [...whole, secrets.sourceUrl, ...Object.values(secrets.otherSourceUrls)]) {
    if (url !== null) for (const part of secretParts(url)) found.add(part);
  }
  for (const url of whole) if (url !== null) found.add(url);
  return [...found].filter((text) => text.length >= minSecretChars);
}

function secretParts(url: string): string[] {
  const parsed = URL.parse(url);
  if (parsed === null) return [url];
  const parts = [parsed.password, decode(parsed.password), parsed.search, ...parsed.searchParams.values()];
  if (parsed.protocol !== 'file:') parts.push(...parsed.pathname.split('/').filter((segment) => segment.length >= minPathKeyChars));
  return parts;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function presence(secret: string | null): 'set' | 'unset' {
  return secret === null ? 'unset' : 'set';
}
