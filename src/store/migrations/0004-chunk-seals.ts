// Seals: what a policy found equal in a closed chunk, and the triggers by which any write into it takes them away.
import { Migration } from '@mikro-orm/migrations';

export class ChunkSeals extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  // `pending`: laid down before a run takes its snapshots, so that a write meanwhile finds something to take away.
  // `span`: the book's rows that belong to the chunk, by their time; after the close before it, through its own last close,
  // in whole milliseconds.
  `create table trueup.chunk_seals (
     policy text not null,
     stream_id integer not null references trueup.streams,
     layer smallint not null,
     book_id integer not null references trueup.books,
     from_ledger integer not null,
     to_ledger integer not null,
     span tstzrange not null,
     state text not null default 'pending' check (state in ('pending', 'sealed', 'broken')),
     fingerprint text not null default '',
     ledger_records bigint not null default 0,
     book_records bigint not null default 0,
     matched bigint not null default 0,
     ledger_digest text not null default '',
     book_digest text not null default '',
     detail text,
     sealed_at timestamptz not null default now(),
     verified_at timestamptz,
     primary key (policy, stream_id, from_ledger),
     check (from_ledger < to_ledger))`,
  `create index chunk_seals_by_chunk on trueup.chunk_seals (stream_id, layer, (to_ledger / 64))`,
  `create index chunk_seals_by_book on trueup.chunk_seals (book_id)`,
  `create index chunk_seals_by_span on trueup.chunk_seals using gist (span)`,
  `create function trueup.unseal_by_coverage() returns trigger language plpgsql as $$
   begin
     delete from trueup.chunk_seals as seal using changed
     where seal.stream_id = changed.stream_id and seal.layer = changed.layer
       and seal.from_ledger < changed.to_ledger and seal.to_ledger > changed.from_ledger;
     return null;
   end $$`,
  ...['insert', 'update', 'delete'].map(
    (event) => `create trigger unseal_on_${event} after ${event} on trueup.coverage_chunks
     referencing ${event === 'delete' ? 'old' : 'new'} table as changed for each statement execute function trueup.unseal_by_coverage()`,
  ),
  // A row touches the chunk of its own time and ledger, those of every other row of its key, and that of the key on the ledger.
  `create function trueup.unseal_by_book() returns trigger language plpgsql as $$
   begin
     if not exists (select from trueup.chunk_seals where book_id in (select book_id from changed)) then
       return null;
     end if;
     delete from trueup.chunk_seals as seal using changed
     where seal.book_id = changed.book_id and seal.span @> changed.occurred_at;
     delete from trueup.chunk_seals as seal using changed
     where seal.book_id = changed.book_id and seal.from_ledger <= changed.ledger and changed.ledger < seal.to_ledger;
     delete from trueup.chunk_seals as seal using changed join trueup.book_entries as other
       on other.book_id = changed.book_id and other.key = changed.key
     where seal.book_id = changed.book_id and seal.span @> other.occurred_at;
     delete from trueup.chunk_seals as seal using changed, trueup.entries as entry
     where seal.book_id = changed.book_id and entry.stream_id = seal.stream_id
       and entry.tx_hash = case when changed.key ~ '^[0-9a-f]{64}' then decode(left(changed.key, 64), 'hex') end
       and seal.from_ledger <= entry.ledger and entry.ledger < seal.to_ledger;
     delete from trueup.chunk_seals as seal using changed
     where seal.book_id = changed.book_id and changed.key ~ '^[0-9]{1,19}$'
       and seal.from_ledger <= trunc(changed.key::numeric / 4294967296) and trunc(changed.key::numeric / 4294967296) < seal.to_ledger;
     return null;
   end $$`,
  ...[
    ['insert', 'insert', 'new'],
    ['update_before', 'update', 'old'],
    ['update_after', 'update', 'new'],
    ['delete', 'delete', 'old'],
  ].map(
    ([name, event, rows]) => `create trigger unseal_on_${name} after ${event} on trueup.book_entries
     referencing ${rows} table as changed for each statement execute function trueup.unseal_by_book()`,
  ),
];
