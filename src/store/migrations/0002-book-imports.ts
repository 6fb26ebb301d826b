// Importing files into a book: where rows wait for their one commit, and what an import tells about itself.
import { Migration } from '@mikro-orm/migrations';

export class BookImports extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `alter table trueup.imports
     alter column level drop not null,
     add column received_bytes bigint not null default 0,
     add column retracted_count bigint not null default 0,
     add column sha256 text,
     add column heartbeat_at timestamptz not null default now()`,
  `create index imports_staging on trueup.imports (heartbeat_at) where state = 'staging'`,
  `alter table trueup.book_entries add column import_id uuid`,
  `alter table trueup.book_entry_revisions add column import_id uuid`,
  // The pairs that a book has are the default scope of a run: found by skipping through this index, not by reading all rows.
  `create index book_entries_by_pair on trueup.book_entries (book_id, account, asset)`,
  // Unlogged: staged rows mean nothing before their commit, and a crash of the server may take them. The commit
  // counts them again.
  `create unlogged table trueup.book_import_rows (
     import_id uuid not null,
     line bigint not null,
     row_id text collate "C",
     row_id_base text collate "C",
     key text collate "C",
     account text collate "C" not null,
     asset text collate "C" not null,
     amount numeric(39,0),
     kind text,
     counterparty text,
     status text,
     sub_account text,
     occurred_at timestamptz,
     ledger integer,
     retracted boolean not null default false,
     as_of_ledger integer,
     primary key (import_id, line))`,
  // A repeated call finds the answer that it was given.
  `create index audit_log_by_request on trueup.audit_log (request_id, method) where request_id <> ''`,
];
