// The shapes of Horizon's answers, as far as TrueUp looks into them; what else they carry is let pass.
import { z } from 'zod';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
/** A TOID. Horizon quotes it; where something in between does not, parseJson keeps its digits. */
export const token = z
  .union([z.string(), z.number()])
  .transform(String)
  .pipe(z.string().regex(/^\d{1,19}$/));

export const ROOT = z.object({
  network_passphrase: z.string(),
  history_latest_ledger: z.int(),
  history_elder_ledger: z.int(),
});

export const LEDGER = z.object({
  sequence: z.int(),
  hash,
  header_xdr: z.string().min(1),
  successful_transaction_count: z.int(),
  /** Null for ledgers ingested by a Horizon too old to count them. */
  failed_transaction_count: z.int().nullish(),
});

export const TRANSACTION = z.object({
  hash,
  ledger: z.int(),
  paging_token: token,
  successful: z.boolean(),
  envelope_xdr: z.string().min(1),
  result_xdr: z.string().min(1),
});

export const TRADE = z.object({ paging_token: z.string().regex(/^\d{1,19}-\d{1,19}$/) });

const BALANCE = z.object({
  balance: z.string().regex(/^\d{1,12}\.\d{7}$/),
  asset_type: z.string(),
  asset_code: z.string().optional(),
  asset_issuer: z.string().optional(),
  last_modified_ledger: z.int().optional(),
});

export const ACCOUNT = z.object({ account_id: z.string(), last_modified_ledger: z.int(), balances: z.array(BALANCE) });

export type HorizonRoot = z.infer<typeof ROOT>;
export type HorizonLedger = z.infer<typeof LEDGER>;
export type HorizonTransaction = z.infer<typeof TRANSACTION>;
export type HorizonAccount = z.infer<typeof ACCOUNT>;
export type HorizonTrade = z.infer<typeof TRADE>;

/** Horizon saying that it knows of no such thing. */
export const NOT_FOUND = z.object({ status: z.literal(404), type: z.string().regex(/not_found$/) });

export function pageOf<T>(record: z.ZodType<T>) {
  return z.object({ _embedded: z.object({ records: z.array(record) }) });
}
