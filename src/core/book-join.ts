// What a book's keys are: looked at, not asked for.

export type KeyForm = 'hash' | 'hash:op' | 'toid' | 'toid-of-transaction' | 'other';

export interface InferredJoin {
  /** Null: the keys don't say. */
  readonly join: 'tx_hash' | 'operation' | null;
  /** How the keys of that join are written; null without a join. */
  readonly form: 'hash' | 'hash:op' | 'toid' | null;
  /** Why, for people. */
  readonly reason: string;
}

/** One form must make up this much of a sample: a stray key is a drift to report, not a reason to compare nothing. */
const DECISIVE_SHARE = 0.9;
const FIRST_TOID = 2n ** 32n;
const LAST_TOID = 2n ** 63n - 1n;
const OPERATION_MASK = 0xfffn;

const MEANINGS: Record<KeyForm, string> = {
  hash: 'transaction hashes (64 hex digits)',
  'hash:op': 'operations written as hash:operation',
  toid: 'Horizon operation ids',
  'toid-of-transaction': 'Horizon transaction ids',
  other: 'of a form that names no transaction and no operation',
};

/** Decides what a sample of keys joins on. Empty keys don't count. */
export function inferJoin(keys: readonly string[]): InferredJoin {
  const counts = new Map<KeyForm, number>();
  const examples = new Map<KeyForm, string>();
  let total = 0;
  for (const key of keys) {
    if (key === '') continue;
    const form = keyForm(key);
    total++;
    counts.set(form, (counts.get(form) ?? 0) + 1);
    if (!examples.has(form)) examples.set(form, key);
  }
  if (total === 0) return undecided('the book has no keys to look at: fill the `key` column, or name the join');
  const [form, count] = [...counts].reduce((best, next) => (next[1] > best[1] ? next : best));
  const sample = `${count} of ${total} sampled keys are ${MEANINGS[form]}, for example ${shorten(examples.get(form)!)}`;
  if (count < total * DECISIVE_SHARE) return undecided(`the keys are of several forms: ${sample}; name the join`);
  if (form === 'other') {
    return undecided(
      `${sample}; give \`key\` the transaction hash, hash:operation or the Horizon operation id, or join by sub_account`,
    );
  }
  if (form === 'toid-of-transaction') {
    return undecided(`${sample} (their operation part is 0); give \`key\` the transaction hash instead`);
  }
  return { join: form === 'hash' ? 'tx_hash' : 'operation', form, reason: sample };
}

/** The form of one key, as normalised by parseBookRow. */
export function keyForm(key: string): KeyForm {
  if (/^[0-9a-f]{64}$/i.test(key)) return 'hash';
  if (/^[0-9a-f]{64}:\d{1,5}$/i.test(key)) return 'hash:op';
  if (/^\d{10,19}$/.test(key)) {
    const id = BigInt(key);
    if (id > FIRST_TOID && id <= LAST_TOID) return (id & OPERATION_MASK) === 0n ? 'toid-of-transaction' : 'toid';
  }
  return 'other';
}

function undecided(reason: string): InferredJoin {
  return { join: null, form: null, reason };
}

function shorten(key: string): string {
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key);
}
