// Which external ledger is followed: said, or inferred from the one URL that is set, never guessed.
import type { ConfiguredSourceKind, ExternalSourceKind } from './config.ts';
import type { Problems } from './problems.ts';
import type { VariableKey, VariableValues } from './variables.ts';
import { VARIABLES } from './variables.ts';

const URL_VARIABLES = {
  'stellar-archive': 'archiveUrl',
  'stellar-lake': 'lakeUrl',
  'stellar-rpc': 'rpcUrl',
  'stellar-horizon': 'horizonUrl',
} as const satisfies Record<ExternalSourceKind, VariableKey>;

const PASSPHRASES: Readonly<Record<string, string>> = {
  pubnet: 'Public Global Stellar Network ; September 2015',
  testnet: 'Test SDF Network ; September 2015',
};

export interface ChosenSource {
  readonly kind: ConfiguredSourceKind;
  readonly url: string | null;
  /** By kind, in order; of the followed kind those after the first. */
  readonly otherUrls: Readonly<Partial<Record<ExternalSourceKind, readonly string[]>>>;
  readonly networkPassphrase: string | null;
  readonly fallbacks: readonly ExternalSourceKind[];
}

export function chooseSource(values: VariableValues, problems: Problems, warnings: string[]): ChosenSource {
  const urls: Partial<Record<ExternalSourceKind, readonly string[]>> = {};
  for (const [kind, key] of Object.entries(URL_VARIABLES) as [
    ExternalSourceKind,
    (typeof URL_VARIABLES)[ExternalSourceKind],
  ][]) {
    const value = values[key];
    if (value !== null && value.length > 0) urls[kind] = [...new Set(value)];
  }
  const kind = values.sourceKind ?? inferKind(urls, values, problems, warnings);
  if (kind === 'sandbox') {
    if (values.networkPassphrase !== null)
      warnings.push('STELLAR_NETWORK_PASSPHRASE is ignored: the sandbox has a network of its own');
    if (values.sourceFallbacks !== null)
      warnings.push('TRUEUP_SOURCE_FALLBACKS is ignored: the sandbox never fails by itself');
    return { kind, url: null, otherUrls: urls, networkPassphrase: null, fallbacks: [] };
  }
  const { [kind]: [url, ...rest] = [], ...ofOtherKinds } = urls;
  const otherUrls = rest.length === 0 ? ofOtherKinds : { [kind]: rest, ...ofOtherKinds };
  if (url === undefined)
    problems.add(variableOf(kind), `is unset though TRUEUP_SOURCE is ${kind}. Fix: set it to the endpoint's URL.`);
  const otherKinds = [...new Set(values.sourceFallbacks ?? [])].filter((each) => each !== kind);
  const fallbacks = rest.length === 0 ? otherKinds : [kind, ...otherKinds];
  for (const each of fallbacks) {
    if (urls[each] === undefined)
      problems.add(
        variableOf(each),
        `is unset though TRUEUP_SOURCE_FALLBACKS names ${each}. Fix: set it to the endpoint's URL.`,
      );
  }
  const passphrase = values.networkPassphrase;
  return {
    kind,
    url: url ?? null,
    otherUrls,
    networkPassphrase: passphrase === null ? null : (PASSPHRASES[passphrase] ?? passphrase),
    fallbacks,
  };
}

function inferKind(
  urls: Partial<Record<ExternalSourceKind, readonly string[]>>,
  values: VariableValues,
  problems: Problems,
  warnings: string[],
): ConfiguredSourceKind {
  const set = Object.keys(urls) as ExternalSourceKind[];
  const [only, second] = set;
  if (only !== undefined) {
    if (second !== undefined) {
      problems.add(
        'TRUEUP_SOURCE',
        `is unset while ${set.map(variableOf).join(' and ')} are set. Fix: say which one is followed, for example TRUEUP_SOURCE=${only}.`,
      );
    }
    return only;
  }
  // A real database or book beside an invented network would be compared with inventions.
  const real = namesOfSet(values, ['databaseUrl', 'bookUrl', 'bookQueryFile']);
  if (real.length > 0) {
    const choices = (Object.keys(URL_VARIABLES) as ExternalSourceKind[]).map(variableOf).join(', ');
    problems.add(
      'TRUEUP_SOURCE',
      `is unset and no source URL is set, though ${real.join(', ')} ${real.length === 1 ? 'is' : 'are'}. Fix: set one of ${choices}, or say TRUEUP_SOURCE=sandbox for the built-in network.`,
    );
  }
  const watched = namesOfSet(values, ['watchAccounts', 'watchContracts']);
  if (watched.length > 0) {
    warnings.push(
      `${watched.join(', ')} applies to the sandbox, because no source is configured: a real network needs a source URL`,
    );
  }
  return 'sandbox';
}

function variableOf(kind: ExternalSourceKind): string {
  return VARIABLES[URL_VARIABLES[kind]].name;
}

function namesOfSet(values: VariableValues, keys: readonly VariableKey[]): string[] {
  return keys.filter((key) => values[key] !== null).map((key) => VARIABLES[key].name);
}
