// Since when transfers are known to wait for their reversal, where the marketplace's own table forgets it at every retry.
import { Migration } from '@mikro-orm/migrations';

export class ReversalSightings extends Migration {
  override up(): void {
    this.addSql(`create table trueup.reversal_sightings (
       transfer_id text primary key,
       since timestamptz not null,
       seen_at timestamptz not null default now())`);
    this.addSql(`create index reversal_sightings_since on trueup.reversal_sightings (since)`);
  }
}
