// An operator's hand on the follower, and what replicas must know of a source together.
import { Migration } from '@mikro-orm/migrations';

export class CoverageControl extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  // When somebody asked for a restart; over once the follower has got an answer after it.
  `alter table trueup.followers
     add column restarted_at timestamptz,
     add column new_epoch_allowed boolean not null default false,
     add column first_oldest_ledger integer`,
  // One row a host: when the next request may be sent by whichever replica, and until when the host wants none at all.
  `create table trueup.source_budgets (
     host text primary key,
     next_at timestamptz not null default '-infinity',
     not_before timestamptz not null default '-infinity',
     updated_at timestamptz not null default now())`,
];
