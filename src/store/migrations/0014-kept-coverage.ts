// What is kept beside coverage: how many ledgers are done, so that a list need not add up a long history's islands to say what is missing.
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
];
