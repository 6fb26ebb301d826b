// Alerts: the outbox of messages, what each policy was last told, and how often the timetable has seen a drift.
import { Migration } from '@mikro-orm/migrations';

export class Alerts extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  // One row is one message to one channel; rows of one message share its message_id.
  `create table trueup.alerts (
     id uuid primary key,
     message_id uuid not null,
     dedupe_key text not null,
     -- Set while what it tells of lasts: the same key is not told again until then.
     open_key text,
     -- The message whose end this one tells; it waits for that one's delivery.
     resolves uuid,
     kind text not null,
     severity text not null check (severity in ('page', 'ticket', 'info')),
     state text not null check (state in ('pending', 'delivered', 'suppressed', 'dead_lettered')),
     channel text not null default '',
     channel_kind text not null default '',
     policy text,
     stream text,
     run_id uuid,
     episode text not null default '',
     title text not null,
     details jsonb not null,
     sandbox boolean not null default false,
     suppress_reason text,
     attempts jsonb not null default '[]',
     -- Attempts since it was raised or replayed; attempts are numbered through.
     tries integer not null default 0,
     attempt_count integer not null default 0,
     replay_count integer not null default 0,
     created_at timestamptz not null default now(),
     next_attempt_at timestamptz,
     delivered_at timestamptz)`,
  `create unique index alerts_open on trueup.alerts (open_key) where open_key is not null`,
  `create index alerts_newest on trueup.alerts (created_at desc, id desc)`,
  `create index alerts_message on trueup.alerts (message_id)`,
  `create index alerts_pending on trueup.alerts (created_at) where state = 'pending'`,
  `create table trueup.alert_states (
     policy text primary key,
     state jsonb not null,
     updated_at timestamptz not null default now())`,
  // Runs of the timetable that saw the drift since it opened, counted to 2: an alert needs both.
  `alter table trueup.drifts add column scheduled_sightings integer not null default 0`,
];
