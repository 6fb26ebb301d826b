// Seals as rows: what a policy found equal in a closed chunk. Writes into a chunk take its seals away by trigger, in their own
// transaction (migrations/0004-chunk-seals.ts).
import type { EntityManager } from '@mikro-orm/postgresql';
import { digestEntries, formatDigest } from '../core/digest.ts';
import { LAYERS, type Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { HashSeeds } from '../core/row-hash.ts';
import type { ChunkTally, Seal, TimeSpan } from '../core/seal.ts';
import { sql, sqlCount } from './database.ts';
import { entriesOfRange, LAYER_CODES } from './entries.ts';

export interface SealScope {
  readonly policy: string;
  readonly streamId: number;
  readonly layer: Layer;
  /** Null: the book lies in a database of the user's, where no trigger sees a write. */
  readonly bookId: number | null;
}

/** What a side that isn't TrueUp's own says of its rows under a seal, and the seeds by which it says it. */
export interface OutsideDigest {
  readonly seeds: HashSeeds;
  readonly digest: string;
}

/**
 * Lays down a pending seal for every closed chunk since `sinceMs` (Unix ms) that has none, before a run takes its snapshots. Writers of
 * the book and of the coverage are waited for, so that each is either in the snapshots or finds the pending seal to take away.
 */
export async function layPendingSeals(
  em: EntityManager,
  scope: SealScope,
  sinceMs: number,
  untilMs: number,
): Promise<void> {
  if (scope.bookId !== null) await sql(em, 'select 1 from trueup.books where id = $1 for update', [scope.bookId]);
  await sql(em, `select pg_advisory_xact_lock(hashtext('trueup.coverage'), $1)`, [scope.streamId]);
  await sqlCount(em, `delete from trueup.chunk_seals where policy = $1 and state = 'pending'`, [scope.policy]);
  await sqlCount(
    em,
    `insert into trueup.chunk_seals (policy, stream_id, layer, book_id, from_ledger, to_ledger, span)
     select $1, $2, $3, $4, from_ledger, to_ledger, tstzrange(before + interval '1 millisecond', last_closed_at + interval '1 millisecond')
     from (
       select from_ledger, to_ledger, last_closed_at, lag(last_closed_at) over (order by from_ledger) as before,
         lag(to_ledger) over (order by from_ledger) as previous_to
       from (
         select from_ledger, to_ledger, max(last_closed_at) as last_closed_at from trueup.coverage_chunks
         where stream_id = $2 and layer = $3 and state = 'done' and sealed and last_closed_at is not null
           and last_closed_at > to_timestamp($5::double precision / 1000) and last_closed_at < to_timestamp($6::double precision / 1000)
         group by from_ledger, to_ledger) as chunk) as chunk
     where previous_to = from_ledger and before < last_closed_at
     on conflict (policy, stream_id, from_ledger) do nothing`,
    [scope.policy, scope.streamId, LAYER_CODES[scope.layer], scope.bookId, sinceMs, untilMs],
  );
}

/** The seals of a policy in a range of ledgers; sealed ones only where the chunk's digests are still those it was sealed with. */
export async function readSeals(
  em: EntityManager,
  scope: Omit<SealScope, 'bookId'>,
  range: LedgerRange,
): Promise<Seal[]> {
  const rows = await sql<{
    from_ledger: number;
    to_ledger: number;
    from_ms: string;
    to_ms: string;
    state: Seal['state'];
    fingerprint: string;
    ledger_records: string;
    book_records: string;
    matched: string;
    detail: string | null;
  }>(
    em,
    `select from_ledger, to_ledger, ${SPAN_MS}, state, fingerprint, ledger_records::text, book_records::text, matched::text, detail
     from trueup.chunk_seals as seal left join (${CHUNK_DIGESTS}) as chunk using (from_ledger, to_ledger)
     where policy = $4 and stream_id = $1 and layer = $2 and from_ledger >= $3 and to_ledger <= $5
       and (state <> 'sealed' or ledger_digest = chunk.digest)
     order by from_ledger`,
    [scope.streamId, LAYER_CODES[scope.layer], range.from, scope.policy, range.to],
  );
  return rows.map((row) => ({
    from: row.from_ledger,
    to: row.to_ledger,
    fromMs: Number(row.from_ms),
    toMs: Number(row.to_ms),
    state: row.state,
    fingerprint: row.fingerprint,
    tally: {
      ledgerRecords: Number(row.ledger_records),
      bookRecords: Number(row.book_records),
      matched: Number(row.matched),
    },
    detail: row.detail,
  }));
}

/** A span begins and ends between two milliseconds: the first is excluded, the last included. */
const SPAN_MS = `(extract(epoch from lower(span)) * 1000 - 1)::bigint::text as from_ms,
       (extract(epoch from upper(span)) * 1000 - 1)::bigint::text as to_ms`;

/** Every watch has a digest of its own of the chunk; a seal stands for all of them. */
const CHUNK_DIGESTS = `
  select from_ledger, to_ledger,
    string_agg(concat_ws(':', watch_set_id, entry_count, digest_sum1, digest_sum2), ' ' order by watch_set_id) as digest
  from trueup.coverage_chunks where stream_id = $1 and layer = $2 and from_ledger >= $3 and state = 'done'
  group by from_ledger, to_ledger`;

/** Makes seals of the pending ones that are still there, in the transaction that concludes the run; the others go. */
export async function sealChunks(
  em: EntityManager,
  scope: SealScope,
  fingerprint: string,
  agreed: readonly { readonly from: number; readonly tally: ChunkTally; readonly outside?: OutsideDigest }[],
): Promise<number> {
  if (agreed.length === 0) return 0;
  return sqlCount(
    em,
    `update trueup.chunk_seals as seal set state = 'sealed', fingerprint = $4, sealed_at = now(), verified_at = null,
       ledger_records = agreed.ledger_records, book_records = agreed.book_records, matched = agreed.matched,
       ledger_digest = chunk.digest, book_digest = coalesce(agreed.book_digest, book.digest), book_seeds = $12
     from unnest($5::int[], $6::bigint[], $7::bigint[], $8::bigint[], $11::text[])
         as agreed (from_ledger, ledger_records, book_records, matched, book_digest)
       join (${CHUNK_DIGESTS}) as chunk using (from_ledger)
       join trueup.chunk_seals as old on old.policy = $9 and old.stream_id = $1 and old.from_ledger = agreed.from_ledger
       cross join lateral (${bookDigestSql('old')}) as book
     where seal.policy = $9 and seal.stream_id = $1 and seal.from_ledger = agreed.from_ledger and seal.to_ledger = chunk.to_ledger
       and seal.state = 'pending' and seal.book_id is not distinct from $10::int`,
    [
      scope.streamId,
      LAYER_CODES[scope.layer],
      Math.min(...agreed.map((each) => each.from)),
      fingerprint,
      agreed.map((each) => each.from),
      agreed.map((each) => each.tally.ledgerRecords),
      agreed.map((each) => each.tally.bookRecords),
      agreed.map((each) => each.tally.matched),
      scope.policy,
      scope.bookId,
      agreed.map((each) => each.outside?.digest ?? null),
      toSeedsColumn(agreed[0]!.outside?.seeds),
    ],
  );
}

function toSeedsColumn(seeds: HashSeeds | undefined): string[] | null {
  return seeds ? [seeds.key, seeds.first, seeds.second].map(String) : null;
}

/** Seals that no run of the policy as it is now can use, and pending ones that came to nothing. */
export async function dropSeals(em: EntityManager, policy: string, keepFingerprint: string | null): Promise<void> {
  await sqlCount(
    em,
    `delete from trueup.chunk_seals where policy = $1 and (state = 'pending' or state = 'sealed' and fingerprint is distinct from $2)`,
    [policy, keepFingerprint],
  );
}

/** Count and two 64-bit sums of SHA-256 over the book's rows of a seal, every column of their content included. */
function bookDigestSql(seal: string): string {
  const word = (from: number) => `coalesce(sum(('x' || encode(substr(hash, ${from}, 8), 'hex'))::bit(64)::bigint), 0)`;
  return `
    select concat_ws(':', count(*), ${word(1)}, ${word(9)}) as digest
    from (select sha256(convert_to(row(row_id, key, account, asset, amount, kind, counterparty, status, sub_account,
        extract(epoch from occurred_at), ledger)::text, 'UTF8')) as hash
      from trueup.book_entries
      where book_id = ${seal}.book_id and occurred_at >= lower(${seal}.span) and occurred_at < upper(${seal}.span)
        and not retracted) as row_hash`;
}

export interface SealToVerify extends LedgerRange {
  readonly policy: string;
  readonly streamId: number;
  readonly layer: Layer;
  /** What the book's rows gave, and what they give now; null: they lie in a database of the user's. */
  readonly bookThen: string;
  readonly bookNow: string | null;
  /** By which such a database is to be asked; null: it is TrueUp's own. */
  readonly outside: (TimeSpan & { readonly seeds: HashSeeds }) | null;
}

/** Seals after one, in order, with their book's digest taken anew. */
export async function sealsToVerify(
  em: EntityManager,
  after: { readonly policy: string; readonly streamId: number; readonly from: number },
  limit: number,
): Promise<SealToVerify[]> {
  const rows = await sql<{
    policy: string;
    stream_id: number;
    layer: number;
    from_ledger: number;
    to_ledger: number;
    book_digest: string;
    digest: string | null;
    book_seeds: readonly string[] | null;
    from_ms: string;
    to_ms: string;
  }>(
    em,
    `select seal.policy, seal.stream_id, seal.layer, seal.from_ledger, seal.to_ledger, seal.book_digest, book_seeds, ${SPAN_MS},
       case when book_id is not null then book.digest end as digest
     from trueup.chunk_seals as seal cross join lateral (${bookDigestSql('seal')}) as book
     where seal.state <> 'pending' and (seal.policy, seal.stream_id, seal.from_ledger) > ($1, $2, $3)
     order by seal.policy, seal.stream_id, seal.from_ledger limit $4`,
    [after.policy, after.streamId, after.from, limit],
  );
  return rows.map((row) => ({
    policy: row.policy,
    streamId: row.stream_id,
    layer: LAYERS.find((layer) => LAYER_CODES[layer] === row.layer)!,
    from: row.from_ledger,
    to: row.to_ledger,
    bookThen: row.book_digest,
    bookNow: row.digest,
    outside: row.book_seeds && {
      seeds: toSeeds(row.book_seeds),
      fromMs: Number(row.from_ms),
      toMs: Number(row.to_ms),
    },
  }));
}

function toSeeds([key, first, second]: readonly string[]): HashSeeds {
  return { key: BigInt(key!), first: BigInt(first!), second: BigInt(second!) };
}

/** Opens a chunk again: the next run reads it. */
export async function openSeal(em: EntityManager, seal: SealToVerify): Promise<void> {
  await sqlCount(em, `delete from trueup.chunk_seals where policy = $1 and stream_id = $2 and from_ledger = $3`, [
    ...[seal.policy, seal.streamId, seal.from],
  ]);
}

/** What re-reading said of a seal; one that is gone by now is left alone. */
export async function noteVerified(em: EntityManager, seal: SealToVerify, broken: string | null): Promise<void> {
  await sqlCount(
    em,
    `update trueup.chunk_seals set verified_at = now(), detail = $4, state = case when $4::text is null then 'sealed' else 'broken' end
     where policy = $1 and stream_id = $2 and from_ledger = $3 and state <> 'pending'`,
    [seal.policy, seal.streamId, seal.from, broken],
  );
}

/** What the stored entries of a seal's chunk give now where that isn't the chunk's digest, in words; null where it is. */
export async function entriesUnder(em: EntityManager, seal: SealToVerify): Promise<string | null> {
  const chunks = await sql<{ everything: boolean; members: string[]; count: string; sum1: string; sum2: string }>(
    em,
    `select everything, members, entry_count::text as count, digest_sum1::text as sum1, digest_sum2::text as sum2
     from trueup.coverage_chunks as chunk join trueup.watch_sets as watch_set on watch_set.id = chunk.watch_set_id
     where chunk.stream_id = $1 and layer = $2 and from_ledger = $3 and to_ledger = $4 and state = 'done' order by watch_set_id`,
    [seal.streamId, LAYER_CODES[seal.layer], seal.from, seal.to],
  );
  for (const { everything, members, count, sum1, sum2 } of chunks) {
    const entries = await entriesOfRange(em, seal.streamId, seal.layer, seal, everything ? null : members);
    const now = formatDigest(digestEntries(entries));
    const then = formatDigest({ count: Number(count), sum1: BigInt(sum1), sum2: BigInt(sum2) });
    if (now !== then) return `entries of ledgers ${seal.from}-${seal.to - 1} give ${now} and gave ${then}`;
  }
  return null;
}
