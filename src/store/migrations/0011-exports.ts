// Exports as resources: one row each from the call that started it to its manifest, or to why there is none.
import { Migration } from '@mikro-orm/migrations';

export class Exports extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `create table trueup.exports (
     id uuid primary key,
     request_id text unique,
     kind text not null,
     format text not null,
     compression text not null,
     filter jsonb not null,
     file_name text,
     state text not null check (state in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
     progress jsonb,
     manifest_id text,
     artifact_id text,
     error_reason text,
     error_message text,
     error_fix text,
     requester text not null,
     sandbox boolean not null,
     attempt integer not null default 0,
     cancel_requested boolean not null default false,
     sequence bigint not null default nextval('trueup.change_sequence'),
     created_at timestamptz not null default now(),
     started_at timestamptz,
     completed_at timestamptz,
     check ((state = 'completed') = (manifest_id is not null)))`,
  `create index exports_newest on trueup.exports (created_at desc, id desc)`,
  `create index exports_changed on trueup.exports (sequence)`,
];
