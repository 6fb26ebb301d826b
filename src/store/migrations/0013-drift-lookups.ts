// What drifts are asked by, and had no index: the run that found them first or last, and the level.
import { Migration } from '@mikro-orm/migrations';

const STATEMENTS = [
  `create index drifts_by_first_run on trueup.drifts (first_run_id)`,
  `create index drifts_by_last_run on trueup.drifts (last_run_id)`,
  `create index drifts_of_level on trueup.drifts (level, first_seen_at desc, id desc)`,
];

export class DriftLookups extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}
