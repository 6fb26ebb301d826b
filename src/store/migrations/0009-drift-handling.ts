// Runs that go on where a dead worker stopped, what people do with drifts, and pages of a million of them.
import { Migration } from '@mikro-orm/migrations';

export class DriftHandling extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  // Writers of a book take turns, so that its position counts its commits: a row counts at a cut whose position is not below its own.
  `alter table trueup.books add column position bigint not null default 0`,
  `alter table trueup.book_entries add column position bigint not null default 0`,
  `alter table trueup.book_entry_revisions add column position bigint not null default 0`,
  // What a resumed run has to read from the revisions: the few rows that were written since its cut.
  `create index book_entries_by_position on trueup.book_entries (book_id, position)`,
  // Unlogged as the findings are: a crash of the server takes both, and the run begins anew rather than with half of them.
  `create unlogged table trueup.run_checkpoints (
     run_id uuid primary key,
     cut jsonb not null,
     phase text not null check (phase in ('window', 'recheck')),
     after_key text collate "C",
     counts jsonb not null)`,
  // Findings belong to the run now, not to one attempt.
  `truncate trueup.run_findings`,
  // Expressions that an index needs, kept once: either side's account and asset, and the ledger's number.
  `alter table trueup.drifts
     add column accounts text[] generated always as
       (array_remove(array[account, ledger_side->>'account', book_side->>'account'], null)) stored,
     add column assets text[] generated always as
       (array_remove(array[asset, ledger_side->>'asset', book_side->>'asset'], null)) stored,
     add column ledger integer generated always as ((ledger_side->>'ledger')::integer) stored`,
  `drop index trueup.drifts_open`,
  `drop index trueup.drifts_newest`,
  // Both columns in one direction: a run may find a million drifts in one moment, and then the id alone makes the order.
  `create index drifts_newest on trueup.drifts (first_seen_at desc, id desc)`,
  `create index drifts_standing on trueup.drifts (first_seen_at desc, id desc) where state in ('open', 'acknowledged')`,
  `create index drifts_standing_of_policy on trueup.drifts (policy, first_seen_at desc, id desc)
     where state in ('open', 'acknowledged')`,
  `create index drifts_settled on trueup.drifts (first_seen_at desc, id desc) where state in ('resolved', 'exempt')`,
  `create index drifts_by_assignee on trueup.drifts (assignee, first_seen_at desc, id desc) where assignee is not null`,
  `create index drifts_by_key on trueup.drifts (match_key)`,
  `create index drifts_by_ledger on trueup.drifts (ledger)`,
  `create index drifts_by_content on trueup.drifts using gin (accounts, assets, kinds)`,
  `create index drifts_exempt on trueup.drifts (exempt_until) where state = 'exempt'`,
  // How many drifts stand, for lists that can't count a million rows a page; written with the drifts, under the policy's lock.
  `create table trueup.drift_counts (
     policy text not null,
     level text not null,
     state text not null,
     kinds text[] not null,
     count bigint not null,
     primary key (policy, level, state, kinds))`,
  `insert into trueup.drift_counts (policy, level, state, kinds, count)
     select policy, level, state, kinds, count(*) from trueup.drifts where state <> 'resolved' group by 1, 2, 3, 4`,
  `create table trueup.drift_transitions (
     id bigint generated always as identity primary key,
     drift_id uuid not null,
     transition text not null check (transition in ('assign', 'acknowledge', 'resolve', 'exempt', 'reopen')),
     from_state text not null,
     to_state text not null,
     reason text not null,
     actor text not null,
     at timestamptz not null default now())`,
  `create index drift_transitions_of_drift on trueup.drift_transitions (drift_id, id desc)`,
  // What a request did the first time, for its repetition.
  `create table trueup.call_answers (
     method text not null,
     request_id text not null,
     digest text not null,
     answer jsonb,
     created_at timestamptz not null default now(),
     primary key (method, request_id))`,
  `create index call_answers_by_age on trueup.call_answers (created_at)`,
];
