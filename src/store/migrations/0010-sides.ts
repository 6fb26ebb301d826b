// Exemptions of a policy travel with what a run finds; keys that a run had to skip wait until one can verify them.
import { Migration } from '@mikro-orm/migrations';

export class Sides extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  `alter table trueup.run_findings add column exemption jsonb`,
  `create table trueup.skipped_keys (
     policy text not null,
     match_key text collate "C" not null,
     skipped_at timestamptz not null default now(),
     -- The attempt of a run that verified it; it is deleted once that run has concluded.
     verified_by text,
     primary key (policy, match_key))`,
];
