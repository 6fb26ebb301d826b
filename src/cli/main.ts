// The `trueup` command with all of its verbs.
import { describeError } from '../client/index.ts';
import { registerAlerts } from './commands/alerts.ts';
import { registerBackfill } from './commands/backfill.ts';
import { registerBooks } from './commands/books.ts';
import { registerCoverage } from './commands/coverage.ts';
import { registerQuarantine } from './commands/quarantine.ts';
import { registerExport } from './commands/export.ts';
import { registerLedger } from './commands/ledger.ts';
import { registerLocal } from './commands/local.ts';
import { registerManifests } from './commands/manifests.ts';
import { registerDrifts } from './commands/drifts.ts';
import { registerPayments } from './commands/payments.ts';
import { registerReconciliation } from './commands/reconciliation.ts';
import { registerStatus } from './commands/status.ts';
import { registerVerify } from './commands/verify.ts';
import { type Register, runProgram } from './program.ts';
import type { World } from './world.ts';

const VERBS: readonly Register[] = [
  registerLocal,
  registerStatus,
  registerReconciliation,
  registerDrifts,
  registerAlerts,
  registerBooks,
  registerLedger,
  registerCoverage,
  registerQuarantine,
  registerManifests,
  registerBackfill,
  registerExport,
  registerPayments,
  registerVerify,
];

/** Runs `trueup ARGS`; never throws, never ends the process. */
export async function main(args: readonly string[], world: World): Promise<number> {
  return await runProgram(args, world, VERBS, describeError);
}
