// What an auditor asks of a change beside its states, and what an operator asks of a job that was given up.
import { Migration } from '@mikro-orm/migrations';

export class ClockRecords extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `alter table trueup.audit_log
     add column reason text,
     add column peer text`,
  `create index audit_log_by_resource on trueup.audit_log (resource, id)`,
  // A failure is kept as its reason, message and fix; `error` is the message alone.
  `alter table trueup.dead_letters
     add column reason text not null default 'INTERNAL',
     add column fix text not null default '',
     add column resource_id text,
     add column sent_at timestamptz not null default now()`,
  `create index dead_letters_newest on trueup.dead_letters (created_at desc, id)`,
  `alter table trueup.job_health
     add column last_error_reason text,
     add column last_error_fix text`,
];
