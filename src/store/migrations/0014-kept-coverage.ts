// What is kept beside coverage: how many ledgers are done, so that a list need not add up a long history's islands to say what is missing;
// and of ledgers that could not be decoded, why, and their bytes.
import { Migration } from '@mikro-orm/migrations';

export class KeptCoverage extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `create table trueup.coverage_totals (
     stream_id integer not null,
     layer smallint not null,
     watch_set_id integer not null references trueup.watch_sets,
     done_ledgers bigint not null,
     primary key (stream_id, layer, watch_set_id))`,
  // By a trigger, so that no way of writing islands can forget it.
  ...(['insert', 'delete'] as const).map(
    (event) => `create function trueup.count_islands_on_${event}() returns trigger language plpgsql as $$
     begin
       insert into trueup.coverage_totals as total
       select stream_id, layer, watch_set_id, ${event === 'insert' ? '' : '-'}sum(to_ledger - from_ledger) from changed
       where state = 'done' group by stream_id, layer, watch_set_id
       on conflict (stream_id, layer, watch_set_id) do update set done_ledgers = total.done_ledgers + excluded.done_ledgers;
       return null;
     end $$`,
  ),
  ...(['insert', 'delete'] as const).map(
    (event) => `create trigger count_on_${event} after ${event} on trueup.coverage_islands
     referencing ${event === 'delete' ? 'old' : 'new'} table as changed for each statement execute function trueup.count_islands_on_${event}()`,
  ),
  // An update could change what a row counts for, in two ways at once; nobody needs one.
  `create function trueup.refuse_island_update() returns trigger language plpgsql as $$
   begin
     raise exception 'islands are deleted and inserted, never updated: their total would no longer be true';
   end $$`,
  `create trigger no_update before update on trueup.coverage_islands execute function trueup.refuse_island_update()`,
  `insert into trueup.coverage_totals
   select stream_id, layer, watch_set_id, sum(to_ledger - from_ledger) from trueup.coverage_islands
   where state = 'done' group by stream_id, layer, watch_set_id`,
  // Ledgers and requests of a job's own limits are counted apart: a read takes its ledgers once, and as many requests as it has pages.
  `alter table trueup.backfills add column requests_at timestamptz`,
  // `raw`: gzip of the first `kept_bytes` of the `size_bytes` that the source gave.
  `create table trueup.quarantines (
     id bigint generated always as identity unique,
     stream_id integer not null references trueup.streams,
     layer smallint not null,
     watch_set_id integer not null references trueup.watch_sets,
     from_ledger integer not null,
     to_ledger integer not null,
     source_id smallint not null references trueup.sources,
     reason text not null,
     detail text not null,
     attempts integer not null,
     first_at timestamptz not null default now(),
     last_at timestamptz not null default now(),
     format text,
     size_bytes integer,
     kept_bytes integer not null default 0,
     raw bytea,
     primary key (stream_id, layer, watch_set_id, from_ledger),
     check (from_ledger < to_ledger))`,
];
