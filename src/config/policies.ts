// trueup.yaml: the policies and sides, as people write them, and how they become core/policy.ts's Policy.
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { messageOf } from '../core/errors.ts';
import { DEFAULT_STATUS_MAP, EXACT_FIELDS, POLICY_DEFAULTS } from '../core/policy.ts';
import type { ExternalSide, Policy } from '../core/policy.ts';
import { didYouMean } from './did-you-mean.ts';
import { configFileSchema, KNOWN_KEYS, type DeclaredPolicy, type DeclaredSide } from './policy-schema.ts';
import type { DeclaredMarketplace } from './marketplace-schema.ts';
import { hideSeeds } from './problems.ts';
import type { Problems } from './problems.ts';

export const maxConfigFileBytes = 1024 * 1024;

/** What a policy takes when it doesn't say its own: the environment's window and interval. */
export interface PolicyFallbacks {
  readonly windowHours: number;
  readonly intervalMs: number;
}

export interface ConfigFile {
  /** Empty: it leaves them to the environment. */
  readonly policies: readonly Policy[];
  readonly sides: Readonly<Record<string, DeclaredSide>>;
  readonly marketplace: DeclaredMarketplace | undefined;
}

const NOTHING: ConfigFile = { policies: [], sides: {}, marketplace: undefined };

/** What trueup.yaml says; what is wrong goes to `problems`, each with its path. */
export function parseConfigFile(
  fileName: string,
  content: string,
  fallbacks: PolicyFallbacks,
  problems: Problems,
): ConfigFile {
  if (Buffer.byteLength(content) > maxConfigFileBytes) {
    problems.add(fileName, `is larger than ${maxConfigFileBytes} bytes. Fix: is it the right file?`);
    return NOTHING;
  }
  const data = readYaml(fileName, content, problems);
  if (data === undefined) return NOTHING;
  const result = configFileSchema.safeParse(data);
  if (!result.success) {
    for (const issue of result.error.issues) problems.add(...describeIssue(fileName, issue));
    return NOTHING;
  }
  const { sides, marketplace } = result.data;
  for (const name of ['stream', 'postgres'].filter((each) => Object.hasOwn(sides, each)))
    problems.add(`${fileName}: sides`, `has a side named ${name}, which means something else. Fix: rename it.`);
  const policies = (result.data.policies ?? []).map((declared) => {
    checkPolicy(`${fileName}: policy ${declared.name}`, declared, sides, problems);
    return toPolicy(declared, sides, fallbacks);
  });
  const names = new Set<string>();
  for (const { name } of policies) {
    if (names.has(name))
      problems.add(`${fileName}: policies`, `has two policies named ${name}. Fix: give each its own name.`);
    names.add(name);
  }
  return { policies, sides, marketplace };
}

/** Without a file: one policy for entries, one for balances (whose schedule is switched on once there is a book of balances). */
export function defaultPolicies(book: Policy['book'], fallbacks: PolicyFallbacks): Policy[] {
  const common = { ...POLICY_DEFAULTS, book, windowHours: fallbacks.windowHours };
  const { intervalMs } = fallbacks;
  return [
    { ...common, name: 'default', level: 'entries', schedule: { enabled: true, intervalMs } },
    { ...common, name: 'default-balances', level: 'balances', schedule: { enabled: false, intervalMs } },
  ];
}

/** Rules between the keys of a policy. */
function checkPolicy(at: string, declared: DeclaredPolicy, sides: ConfigFile['sides'], problems: Problems): void {
  const { ledger, book, level, exact, join } = declared;
  if (ledger !== 'stream' && !Object.hasOwn(sides, ledger)) {
    const known = ['stream', ...Object.keys(sides)];
    problems.add(at, `reads the ledger ${ledger}, which is no side.${didYouMean(ledger, known)} Fix: add it to sides.`);
  }
  if (ledger === book) problems.add(at, `compares ${ledger} with itself. Fix: name another book.`);
  if (ledger !== 'stream' && level === 'balances')
    problems.add(at, 'compares balances without the stream. Fix: use level entries, or ledger stream.');
  if (join === 'sub_account' && level === 'balances')
    problems.add(
      at,
      'joins balances by sub_account, but a ledger keeps balances of whole accounts. Fix: leave join out.',
    );
  if (declared.time_tolerance !== undefined && exact !== undefined && !exact.includes('time'))
    problems.add(at, 'has a time_tolerance, but `exact` leaves time out. Fix: add time to it, or drop the tolerance.');
  if (declared.amount_tolerances.length > 0 && exact !== undefined && !exact.includes('amount'))
    problems.add(at, 'has amount_tolerances, but `exact` leaves amount out. Fix: add amount to it, or drop them.');
  const assets = declared.amount_tolerances.map((each) => each.asset);
  if (new Set(assets).size < assets.length) problems.add(at, 'has two tolerances of one asset. Fix: keep one of them.');
}

function toPolicy(declared: DeclaredPolicy, sides: ConfigFile['sides'], fallbacks: PolicyFallbacks): Policy {
  const { accounts, assets, kinds } = declared.scope;
  const words = Object.entries(declared.status_map).map(([word, status]) => [word.toLowerCase(), status] as const);
  const ledger: Policy['ledger'] = sideOf(declared.ledger, sides) ?? POLICY_DEFAULTS.ledger;
  return {
    name: declared.name,
    level: declared.level,
    ledger,
    book: bookOf(declared.book, sides),
    layer: declared.layer,
    join: declared.join,
    scope: { ...(accounts && { accounts }), ...(assets && { assets }), ...(kinds && { kinds }) },
    exact: declared.exact === undefined ? EXACT_FIELDS : EXACT_FIELDS.filter((each) => declared.exact!.includes(each)),
    amountTolerances: declared.amount_tolerances.map(({ asset, minor, basis_points: basisPoints }) => ({
      asset,
      minor: minor ?? null,
      basisPoints: basisPoints ?? null,
    })),
    statusMap: { ...DEFAULT_STATUS_MAP, ...Object.fromEntries(words) },
    timeToleranceMs: declared.time_tolerance ?? (declared.exact?.includes('time') ? 0 : null),
    grace: { missingInDbMs: declared.grace.missing_in_db, missingOnLedgerMs: declared.grace.missing_on_ledger },
    windowHours: windowHoursOf(declared, ledger, fallbacks),
    lookaroundMs: declared.lookaround,
    bookMaxLatenessMs: declared.book_max_lateness,
    schedule: { enabled: declared.schedule.enabled, intervalMs: declared.schedule.interval ?? fallbacks.intervalMs },
    alert: {
      enabled: declared.alert.enabled,
      threshold: declared.alert.threshold ?? null,
      cooldownMs: declared.alert.cooldown ?? null,
    },
    exemptions: declared.exemptions.map(({ match, reason, owner, expires }) => ({
      match: Object.fromEntries(Object.entries(match).filter(([, value]) => value !== undefined)),
      reason,
      owner,
      expiresAt: expires,
    })),
  };
}

function bookOf(name: string, sides: ConfigFile['sides']): Policy['book'] {
  if (name === 'postgres') return { kind: 'postgres' };
  return sideOf(name, sides) ?? { kind: 'recorded', name };
}

function sideOf(name: string, sides: ConfigFile['sides']): ExternalSide | null {
  const side = Object.hasOwn(sides, name) ? sides[name] : undefined;
  if (side === undefined) return null;
  return { kind: 'external', name, type: side.kind, immutable: side.kind === 'postgres' && side.immutable };
}

function windowHoursOf(declared: DeclaredPolicy, ledger: Policy['ledger'], fallbacks: PolicyFallbacks): number | null {
  if (declared.window !== undefined) return declared.window / 3_600_000;
  return ledger.kind === 'stream' ? fallbacks.windowHours : null;
}

function readYaml(fileName: string, content: string, problems: Problems): unknown {
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true, prettyErrors: false });
  for (const error of document.errors) {
    const { line, col } = lineCounter.linePos(error.pos[0]);
    problems.add(`${fileName}:${line}:${col}`, `is not valid YAML: ${error.message}. Fix: correct that line.`);
  }
  if (document.errors.length > 0) return undefined;
  try {
    return document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    problems.add(fileName, `is not valid YAML: ${messageOf(error)}. Fix: write anchors out.`);
    return undefined;
  }
}

function describeIssue(fileName: string, issue: z.core.$ZodIssue): [field: string, description: string] {
  const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  const at = `${fileName}: ${path.replace(/^\./, '') || 'the file'}`;
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map((key) => `${hideSeeds(key)} is no key here.${didYouMean(key, KNOWN_KEYS)}`);
    return [at, `has unknown keys: ${keys.join(' ')} Fix: correct or remove them; trueup.schema.json lists the keys.`];
  }
  return [at, `${hideSeeds(issue.message)}. Fix: see trueup.schema.json for what belongs there.`];
}
