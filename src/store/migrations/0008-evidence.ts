// Manifests, what holds them, and the log that vouches for them.
import { Migration } from '@mikro-orm/migrations';

export class Evidence extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `create table trueup.manifests (
     id uuid primary key,
     export_id text not null,
     artifact_id text not null,
     requester text not null,
     kind text not null,
     format text not null,
     checksum text not null,
     file_name text not null,
     row_count bigint not null,
     generated_at timestamptz not null,
     sandbox boolean not null,
     envelope bytea not null,
     hold_count integer not null default 0 check (hold_count >= 0),
     pruned_at timestamptz,
     artifact_removed_at timestamptz,
     -- Not even a mistake of ours takes away what is held.
     check (pruned_at is null or hold_count = 0))`,
  `create index manifests_newest on trueup.manifests (generated_at desc, id desc)`,
  `create index manifests_by_requester on trueup.manifests (requester, generated_at desc, id desc)`,
  `create index manifests_by_artifact on trueup.manifests (artifact_id)`,
  `create index manifests_by_checksum on trueup.manifests (checksum)`,
  `create index manifests_kept on trueup.manifests (generated_at desc, id desc) where pruned_at is null`,
  `create index manifests_to_remove on trueup.manifests (pruned_at) where pruned_at is not null and artifact_removed_at is null`,
  `create table trueup.manifest_holds (
     id uuid primary key,
     manifest_id uuid not null references trueup.manifests,
     reason text not null,
     placed_by text not null,
     created_at timestamptz not null default now(),
     released_at timestamptz,
     released_by text,
     release_reason text,
     request_id text unique,
     release_request_id text unique)`,
  `create index manifest_holds_by_manifest on trueup.manifest_holds (manifest_id)`,
  // One log a database. Whoever seals holds its row.
  `create table trueup.evidence_log (
     id smallint primary key default 1 check (id = 1),
     origin text not null,
     counted_through timestamptz not null,
     created_at timestamptz not null default now())`,
  // A leaf is written where it happens, in the order of ids, and gets its place in the tree when it is sealed.
  `create table trueup.evidence_leaves (
     id bigint generated always as identity primary key,
     log_index bigint unique check (log_index >= 0),
     kind text not null,
     manifest_id uuid,
     body bytea not null,
     created_at timestamptz not null default now())`,
  `create index evidence_leaves_pending on trueup.evidence_leaves (id) where log_index is null`,
  `create unique index evidence_leaves_of_manifests on trueup.evidence_leaves (manifest_id) where kind = 'manifest'`,
  `create index evidence_leaves_of_keys on trueup.evidence_leaves (id) where kind = 'key'`,
  // Complete subtrees above the leaves, each written once.
  `create table trueup.evidence_nodes (
     level smallint not null,
     index bigint not null,
     hash bytea not null,
     primary key (level, index))`,
  `create table trueup.evidence_checkpoints (
     tree_size bigint primary key,
     root bytea not null,
     note bytea not null,
     key_id text not null,
     signed_at timestamptz not null)`,
  `create function trueup.refuse_rewriting() returns trigger language plpgsql as $$
     begin
       if tg_op = 'UPDATE' and tg_table_name = 'evidence_leaves' then
         if old.log_index is null and new.log_index is not null
            and (new.id, new.kind, new.body, new.created_at) = (old.id, old.kind, old.body, old.created_at)
            and new.manifest_id is not distinct from old.manifest_id then
           return new;
         end if;
       end if;
       raise exception '% is append-only', tg_table_name;
     end $$`,
  ...['evidence_leaves', 'evidence_nodes', 'evidence_checkpoints'].map(
    (table) => `create trigger append_only before update or delete on trueup.${table}
                for each row execute function trueup.refuse_rewriting()`,
  ),
];
