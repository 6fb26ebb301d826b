// Seals of books that are not TrueUp's own: no trigger sees a write there, so that only sides which are declared immutable have them.
import { Migration } from '@mikro-orm/migrations';

export class OutsideSeals extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  // No book: the rows lie in a database of the user's.
  `alter table trueup.chunk_seals alter column book_id drop not null`,
  // Under which its digest of such rows was taken, as three numbers: key, first, second.
  `alter table trueup.chunk_seals add column book_seeds bigint[] check (cardinality(book_seeds) = 3)`,
  // Days, since 1970-01-01 in UTC, on which two sides without the stream have the same rows.
  `create table trueup.day_seals (
     policy text not null,
     day integer not null,
     -- Of each side.
     row_count bigint not null,
     fingerprint text not null,
     sealed_at timestamptz not null default now(),
     primary key (policy, day))`,
];
