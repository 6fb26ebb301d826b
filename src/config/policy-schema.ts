// The shape of trueup.yaml, as people write it: one schema checks the file, completes it in editors and documents it.
import { z } from 'zod';
import { normalizeAsset } from '../core/asset.ts';
import { DRIFT_KINDS } from '../core/drift.ts';
import { ENTRY_KINDS, LAYERS } from '../core/entry.ts';
import { messageOf } from '../core/errors.ts';
import { EXACT_FIELDS, JOINS, LEVELS, POLICY_DEFAULTS } from '../core/policy.ts';
import { isStrkey } from '../core/strkey.ts';
import { duration } from './duration.ts';
import { MARKETPLACE_SCHEMAS, marketplaceSchema } from './marketplace-schema.ts';
import { MAX_TIMER_MS, MIN_TIMER_MS } from './value-types.ts';

export const maxPolicies = 100;
const maxSides = 100;
const maxScopeItems = 10_000;
const maxExemptions = 1_000;
const maxTolerances = 1_000;
const maxQueryChars = 64 * 1024;
const MAX_DURATION_MS = 10 * 365 * 24 * 3_600_000;
const SIDE_NAME = /^[A-Za-z0-9][\w.-]{0,62}$/;

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

const toleranceSchema = z
  .strictObject({
    asset: z
      .union([z.literal('*'), z.string().transform(asset)])
      .default('*')
      .describe('`*`: every asset without a tolerance of its own.'),
    minor: z
      .union([z.int().min(0), z.string().regex(/^\d{1,38}$/)], { error: 'is no whole number of minor units' })
      .transform((value) => BigInt(value))
      .optional()
      .describe('Largest absolute difference in minor units, inclusive.'),
    basis_points: z
      .int()
      .min(0)
      .max(10_000)
      .optional()
      .describe("Hundredths of a percent of the ledger's amount, rounded down to a whole minor unit."),
  })
  .refine((each) => (each.minor === undefined) !== (each.basis_points === undefined), {
    error: 'needs exactly one of minor and basis_points',
  });

const exemptionSchema = z.strictObject({
  match: z
    .strictObject({
      key: z.string().min(1).max(512).optional().describe('Match key of the drift.'),
      account: z.string().min(1).max(256).optional().describe('On either side.'),
      asset: z.string().transform(asset).optional().describe('`native`, CODE:ISSUER or C....'),
      kind: z.enum(DRIFT_KINDS).optional().describe('The only way in which the sides may differ.'),
    })
    .refine((match) => Object.values(match).some((value) => value !== undefined), {
      error: 'would exempt everything: give key, account, asset or kind',
    })
    .describe('What is exempt; all that are given must hold.'),
  reason: z.string().min(1).max(1000).describe('Why.'),
  owner: z.string().min(1).max(200).describe('Who answers for it.'),
  expires: z
    .string()
    .transform(moment)
    .describe('From then on it has no effect: a date (00:00 UTC of that day) or an ISO 8601 time with a zone.'),
});

export const policySchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'is no name: lower-case letters, digits, dashes, at most 63')
    .describe('Unique; it labels metrics and runs.'),
  level: z.enum(LEVELS).describe('Compare movement by movement, or balances.'),
  ledger: z
    .string()
    .regex(SIDE_NAME, 'is neither `stream` nor the name of a side')
    .default('stream')
    .describe('What is taken for the truth. `stream`: the ledger that is followed; any other name: a side of `sides`.'),
  book: z
    .string()
    .regex(SIDE_NAME, 'is neither `postgres` nor the name of a side or of a recorded book')
    .default('default')
    .describe(
      '`postgres`: the query of TRUEUP_BOOK_QUERY_FILE; a name of `sides`: that side; any other name: the book recorded or imported under it.',
    ),
  layer: z.enum(LAYERS).default(POLICY_DEFAULTS.layer).describe('Which view of the ledger is read.'),
  join: z
    .enum(JOINS)
    .default(POLICY_DEFAULTS.join)
    .describe(
      'What makes two rows the same movement. `tx_hash`: legs of a key are summed; `sub_account`: account, sub-account, asset and amount.',
    ),
  scope: scopeSchema.default({}),
  exact: z
    .array(z.enum([...EXACT_FIELDS, 'time']))
    .min(1)
    .optional()
    .describe('Fields that must be equal where both sides state them. Absent: all but time.'),
  amount_tolerances: z
    .array(toleranceSchema)
    .max(maxTolerances)
    .default([])
    .describe('Where amounts may differ and still count as equal; what is absorbed is totalled on the run.'),
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
    .describe(
      'How far back from the cut a run looks. Absent: RECONCILIATION_WINDOW_HOURS; without the stream, everything.',
    ),
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
  alert: z
    .strictObject({
      enabled: z.boolean().default(true).describe('False: this policy never alerts.'),
      threshold: z
        .int()
        .min(1)
        .optional()
        .describe('Open drifts from which on it alerts. Absent: RECONCILIATION_DRIFT_ALERT_THRESHOLD.'),
      cooldown: duration(0, MAX_DURATION_MS)
        .optional()
        .describe('Least time between two alerts. Absent: RECONCILIATION_ALERT_COOLDOWN_MS.'),
    })
    .prefault({})
    .describe('When the policy alerts.'),
  exemptions: z
    .array(exemptionSchema)
    .max(maxExemptions)
    .default([])
    .describe('Differences that are known and accepted, each until a day: counted apart, never alerted.'),
});

const immutableKey = z
  .boolean()
  .default(false)
  .describe('True: rows that were read once never change, so that history is compared once and then by digest.');

const sideSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('postgres').describe('One SELECT on a PostgreSQL database, with the columns of a book.'),
    url_env: z
      .string()
      .regex(/^[A-Z][A-Z0-9_]{0,62}$/, 'is no name of an environment variable, such as PROCESSOR_DATABASE_URL')
      .refine((name) => !name.startsWith('TRUEUP_'), 'begins with TRUEUP_, which is kept for settings: choose another')
      .describe('Name of the environment variable that holds the URL, through a role that can only read.'),
    query: z.string().min(1).max(maxQueryChars).optional().describe('The SELECT itself, or else `query_file`.'),
    query_file: z.string().min(1).optional().describe('File with the SELECT.'),
    immutable: immutableKey,
  }),
  z.strictObject({
    kind: z.literal('file').describe('A CSV or JSON lines file with the columns of a book, read anew by every run.'),
    path: z.string().min(1).describe('Complete as of its time of modification.'),
    format: z.enum(['csv', 'jsonl']).optional().describe('Absent: told by the ending .csv, .jsonl or .ndjson.'),
  }),
]);

export const configFileSchema = z
  .strictObject({
    sides: z
      .record(z.string().regex(SIDE_NAME, 'is no name of a side'), sideSchema)
      .refine((sides) => Object.keys(sides).length <= maxSides, `has more than ${maxSides} sides`)
      .default({})
      .describe('Sides outside of TrueUp, by name: for `ledger` and `book` of a policy.'),
    policies: z
      .array(policySchema)
      .min(1)
      .max(maxPolicies)
      .optional()
      .describe('Named reconciliations. Absent beside `marketplace`: those of the environment.'),
    marketplace: marketplaceSchema
      .optional()
      .describe(
        "The payments tables that MARKETPLACE_DATABASE_URL leads to, in their own names. Absent: the defaults'.",
      ),
  })
  .refine((file) => file.policies !== undefined || file.marketplace !== undefined, {
    path: ['policies'],
    message: 'there is none: nothing would be compared',
  });

export type DeclaredSide = z.output<typeof sideSchema>;
export type DeclaredPolicy = z.output<typeof policySchema>;

/** Every key that the file may have, at whatever depth: for the one that was meant. */
export const KNOWN_KEYS: readonly string[] = [
  ...new Set(
    [
      configFileSchema,
      policySchema,
      scopeSchema,
      policySchema.shape.grace.unwrap(),
      policySchema.shape.schedule.unwrap(),
      policySchema.shape.alert.unwrap(),
      toleranceSchema,
      exemptionSchema,
      exemptionSchema.shape.match,
      ...sideSchema.options,
      ...MARKETPLACE_SCHEMAS,
    ].flatMap((schema) => Object.keys(schema.shape)),
  ),
];
function asset(text: string, context: z.RefinementCtx): string {
  try {
    return normalizeAsset(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
    return z.NEVER;
  }
}

/** A date or an ISO 8601 time with a zone. */
function moment(text: string, context: z.RefinementCtx): Date {
  const isMoment = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const date = new Date(text);
  // 30 February would otherwise become 2 March.
  const day = Number(text.slice(8, 10));
  const inMonth = new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)) - 1, day)).getUTCDate() === day;
  if (isMoment && inMonth && !Number.isNaN(date.getTime())) return date;
  context.addIssue({
    code: 'custom',
    message: 'is no date such as 2026-12-31, nor a time such as 2026-12-31T12:00:00Z',
  });
  return z.NEVER;
}
