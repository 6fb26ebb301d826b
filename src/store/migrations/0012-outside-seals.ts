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
];
