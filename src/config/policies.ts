// trueup.yaml: the policies, as people write them, and how they become core/policy.ts's Policy.
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { normalizeAsset } from '../core/asset.ts';
import { ENTRY_KINDS, LAYERS } from '../core/entry.ts';
import { messageOf } from '../core/errors.ts';
import { DEFAULT_STATUS_MAP, JOINS, LEVELS, POLICY_DEFAULTS } from '../core/policy.ts';
import type { Policy } from '../core/policy.ts';
import { isStrkey } from '../core/strkey.ts';
import { didYouMean } from './did-you-mean.ts';
import { hideSeeds } from './problems.ts';
import type { Problems } from './problems.ts';
import { MAX_TIMER_MS, MIN_TIMER_MS } from './value-types.ts';

export const maxConfigFileBytes = 1024 * 1024;
export const maxPolicies = 100;
const maxScopeItems = 10_000;
const MAX_DURATION_MS = 10 * 365 * 24 * 3_600_000;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What a policy takes when it doesn't say its own: the environment's window and interval. */
export interface PolicyFallbacks {
  readonly windowHours: number;
  readonly intervalMs: number;
}

const scopeSchema = z
  .strictObject({
    accounts: z
      .array(
        z
          .string()
          .refine(
            (id) => isStrkey('account', id) || isStrkey('contract', id),
            'is no account or contract id: its checksum is wrong',
          ),
      )
      .min(1)
      .max(maxScopeItems)
      .optional()
      .describe('Account (G...) and contract (C...) ids.'),
    assets: z
      .array(z.string().transform(asset))
      .min(1)
      .max(maxScopeItems)
      .optional()
      .describe('`native`, CODE:ISSUER or C....'),
    kinds: z
      .array(z.enum(ENTRY_KINDS))
      .min(1)
      .optional()
      .describe('Entry kinds. Absent: every kind but fees and genesis.'),
  })
  .describe('What is compared. Absent: the account and asset pairs that the book itself has.');

const policySchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'is no name: lower-case letters, digits, dashes, at most 63')
    .describe('Unique; it labels metrics and runs.'),
  level: z.enum(LEVELS).describe('Compare movement by movement, or balances.'),
  book: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,62}$/, 'is neither `postgres` nor the name of a recorded book')
    .default('default')
    .describe(
      '`postgres`: the query of TRUEUP_BOOK_QUERY_FILE; any other name: the book recorded or imported under it.',
    ),
  layer: z.enum(LAYERS).default(POLICY_DEFAULTS.layer).describe('Which view of the ledger is read.'),
  join: z
    .enum(JOINS)
    // Comparing by another join than the one asked for would accuse wrongly, so it is refused until it can be done.
    .refine((join) => join !== 'sub_account', 'sub_account is not compared yet: use operation or tx_hash')
    .default(POLICY_DEFAULTS.join)
    .describe('What makes two rows the same movement; sub_account is not compared yet.'),
  scope: scopeSchema.default({}),
  status_map: z
    .record(z.string().min(1).max(64), z.enum(['success', 'failed', 'pending']))
    .default({})
    .describe('Status words of the book, added to the usual ones.'),
  time_tolerance: duration(0, MAX_DURATION_MS)
    .optional()
    .describe('Largest difference in time that counts as equal. Absent: time is not compared.'),
  grace: z
    .strictObject({
      missing_in_db: duration(0, MAX_DURATION_MS).prefault('5m').describe('Counted from the close of the ledger.'),
      missing_on_ledger: duration(0, MAX_DURATION_MS)
        .prefault('15m')
        .describe('Counted from the own time of the book row.'),
    })
    .prefault({})
    .describe('How old an item must be before its absence on the other side counts.'),
  window: duration(1000, MAX_DURATION_MS)
    .optional()
    .describe('How far back from the cut a run looks. Absent: RECONCILIATION_WINDOW_HOURS.'),
  lookaround: duration(0, MAX_DURATION_MS).prefault('1h').describe('How far outside the window book rows are read.'),
  book_max_lateness: duration(0, MAX_DURATION_MS)
    .prefault('1h')
    .describe('A book that is complete only up to longer before the cut is BOOK_STALE.'),
  schedule: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe('False: it runs on request only. LEDGER_RECONCILIATION_ENABLED=false switches all off.'),
      interval: duration(MIN_TIMER_MS, MAX_TIMER_MS).optional().describe('Absent: LEDGER_RECONCILIATION_INTERVAL_MS.'),
    })
    .prefault({})
    .describe('When the policy runs by itself.'),
});

export const configFileSchema = z.strictObject({
  policies: z.array(policySchema).min(1).max(maxPolicies).describe('Named reconciliations.'),
});

/** The policies of trueup.yaml; what is wrong goes to `problems`, each with its path. */
export function parsePolicies(
  fileName: string,
  content: string,
  fallbacks: PolicyFallbacks,
  problems: Problems,
): Policy[] {
  if (Buffer.byteLength(content) > maxConfigFileBytes) {
    problems.add(fileName, `is larger than ${maxConfigFileBytes} bytes. Fix: is it the right file?`);
    return [];
  }
  const data = readYaml(fileName, content, problems);
  if (data === undefined) return [];
  const result = configFileSchema.safeParse(data);
  if (!result.success) {
    for (const issue of result.error.issues) problems.add(...describeIssue(fileName, issue));
    return [];
  }
  const policies = result.data.policies.map((declared) => toPolicy(declared, fallbacks));
  const names = new Set<string>();
  for (const { name } of policies) {
    if (names.has(name))
      problems.add(`${fileName}: policies`, `has two policies named ${name}. Fix: give each its own name.`);
    names.add(name);
  }
  return policies;
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

function toPolicy(declared: z.output<typeof policySchema>, fallbacks: PolicyFallbacks): Policy {
  const { accounts, assets, kinds } = declared.scope;
  const words = Object.entries(declared.status_map).map(([word, status]) => [word.toLowerCase(), status] as const);
  return {
    name: declared.name,
    level: declared.level,
    book: declared.book === 'postgres' ? { kind: 'postgres' } : { kind: 'recorded', name: declared.book },
    layer: declared.layer,
    join: declared.join,
    scope: { ...(accounts && { accounts }), ...(assets && { assets }), ...(kinds && { kinds }) },
    statusMap: { ...DEFAULT_STATUS_MAP, ...Object.fromEntries(words) },
    timeToleranceMs: declared.time_tolerance ?? null,
    grace: { missingInDbMs: declared.grace.missing_in_db, missingOnLedgerMs: declared.grace.missing_on_ledger },
    windowHours: declared.window === undefined ? fallbacks.windowHours : declared.window / 3_600_000,
    lookaroundMs: declared.lookaround,
    bookMaxLatenessMs: declared.book_max_lateness,
    schedule: { enabled: declared.schedule.enabled, intervalMs: declared.schedule.interval ?? fallbacks.intervalMs },
  };
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

const KNOWN_KEYS = [
  'policies',
  ...Object.keys(policySchema.shape),
  ...['accounts', 'assets', 'kinds', 'missing_in_db', 'missing_on_ledger', 'enabled', 'interval'],
];

function asset(text: string, context: z.RefinementCtx): string {
  try {
    return normalizeAsset(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
    return z.NEVER;
  }
}

/** `5m`, `1h`, `300s`, `250ms`, `2d`, or a number of milliseconds. */
function duration(minMs: number, maxMs: number) {
  const words = 'a duration such as 300s, 5m, 1h or 2d, or a number of milliseconds';
  return z
    .union([z.int(), z.string().regex(/^\d{1,12}(ms|s|m|h|d)?$/)], { error: `is not ${words}` })
    .transform((value, context): number => {
      const match = /^(\d+)([a-z]*)$/.exec(String(value));
      const ms = match === null ? Number(value) : Number(match[1]) * UNIT_MS[match[2] || 'ms']!;
      if (ms >= minMs && ms <= maxMs) return ms;
      context.addIssue({ code: 'custom', message: `is outside ${minMs} ms to ${maxMs} ms` });
      return z.NEVER;
    });
}
