// What `doctor` may look at of TrueUp's own database: it only reads, and does without where there is none yet.
import type { Config } from './config/config.ts';
import type { InferredJoin } from './core/book.ts';
import { sql, openDatabase } from './store/database.ts';
import { readLedgerItemsByKeys } from './store/ledger-side.ts';
import { listStreams } from './store/streams.ts';
import { ENTRY_KINDS } from './core/entry.ts';

type CountKeysFound = (keys: readonly string[], join: InferredJoin) => Promise<number>;

/** A ledger number above every ledger. */
const NO_LAST_LEDGER = 2_147_483_647;

/**
 * Hands `work` a look-up of book keys among the stored entries; null where the database can't be reached from here: the embedded
 * one belongs to the running service, so only DATABASE_URL can be asked.
 */
export async function withReadOnlyStore<T>(
  config: Config,
  work: (countKeysFound: CountKeysFound | null) => Promise<T>,
): Promise<T> {
  if (config.secrets.databaseUrl === null) return work(null);
  await using db = await openDatabase({ url: config.secrets.databaseUrl, applicationName: 'trueup-doctor' });
  const [schema] = await sql(
    db.em(),
    `select 1 from information_schema.tables where table_schema = 'trueup' and table_name = 'entries'`,
  );
  const stream = schema === undefined ? undefined : (await listStreams(db.em())).at(-1);
  if (stream === undefined) return await work(null);
  return await work(async (keys, { form }) => {
    if (form === null) return 0;
    const scope = { streamId: stream.id, layer: 'operations' as const, form, kinds: ENTRY_KINDS, accounts: null };
    const items = await readLedgerItemsByKeys(db.em(), scope, keys, NO_LAST_LEDGER);
    return new Set(items.map((item) => item.key)).size;
  });
}
