// Every migration in the order in which it is applied; the names are written into the database and never change.
import type { MigrationObject } from '@mikro-orm/core';
import { FirstHouse } from './0001-first-house.ts';
import { BookImports } from './0002-book-imports.ts';
import { ClockRecords } from './0003-clock-records.ts';
import { ChunkSeals } from './0004-chunk-seals.ts';
import { Alerts } from './0005-alerts.ts';
import { Backfills } from './0006-backfills.ts';
import { CoverageControl } from './0007-coverage-control.ts';
import { Evidence } from './0008-evidence.ts';
import { DriftHandling } from './0009-drift-handling.ts';
import { Sides } from './0010-sides.ts';
import { Exports } from './0011-exports.ts';
import { OutsideSeals } from './0012-outside-seals.ts';
import { DriftLookups } from './0013-drift-lookups.ts';
import { KeptCoverage } from './0014-kept-coverage.ts';
import { ReversalSightings } from './0015-reversal-sightings.ts';

export const MIGRATIONS: MigrationObject[] = [
  { name: '0001-first-house', class: FirstHouse },
  { name: '0002-book-imports', class: BookImports },
  { name: '0003-clock-records', class: ClockRecords },
  { name: '0004-chunk-seals', class: ChunkSeals },
  { name: '0005-alerts', class: Alerts },
  { name: '0006-backfills', class: Backfills },
  { name: '0007-coverage-control', class: CoverageControl },
  { name: '0008-evidence', class: Evidence },
  { name: '0009-drift-handling', class: DriftHandling },
  { name: '0010-sides', class: Sides },
  { name: '0011-exports', class: Exports },
  { name: '0012-outside-seals', class: OutsideSeals },
  { name: '0013-drift-lookups', class: DriftLookups },
  { name: '0014-kept-coverage', class: KeptCoverage },
  { name: '0015-reversal-sightings', class: ReversalSightings },
];
