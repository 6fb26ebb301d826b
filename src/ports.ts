// Composes what the doors ask of the house.
import type { Config } from './config/config.ts';
import type { Import } from './core/listing.ts';
import type { RpcPorts } from './rpc/ports.ts';
import { createBalanceLists } from './services/balances.ts';
import { recordEntries, streamEntries } from './services/book.ts';
import { createCoverageLists } from './services/coverage.ts';
import type { ExportsService } from './services/exports.ts';
import { type Evidence } from './services/evidence.ts';
import { type HealthService } from './services/health.ts';
import { getImport, importBook, type Import as StoredImport } from './services/imports.ts';
import { createEntryLists } from './services/ledger-entries.ts';
import { type ReconciliationService } from './services/reconciliation.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import type { Events } from './telemetry/events.ts';

export interface Services {
  readonly db: Database;
  readonly networkPassphrase: string;
  readonly source: Source;
  readonly config: Config;
  readonly reconciliation: ReconciliationService;
  readonly exports: ExportsService;
  readonly health: HealthService;
  readonly alerts: RpcPorts['alerts'];
  readonly backfills: RpcPorts['backfills'];
  readonly control: RpcPorts['control'];
  readonly listLedgerHealth: RpcPorts['health']['listLedgerHealth'];
  readonly events: Events;
  readonly evidence: Evidence;
}

/** What the doors ask of the house, answered by the services. */
export function createPorts({
  db,
  networkPassphrase,
  source,
  config,
  reconciliation,
  health,
  alerts,
  events,
  exports,
  evidence,
  backfills,
  control,
  listLedgerHealth,
}: Services): RpcPorts {
  const { drifts, ...reconciliations } = reconciliation;
  const entryLists = createEntryLists({ db, networkPassphrase });
  const balanceLists = createBalanceLists({ db, networkPassphrase });
  const coverage = createCoverageLists({
    db,
    networkPassphrase,
    layers: source.layers,
    endLedger: config.source.endLedgerInclusive,
  });
  return {
    reconciliations,
    drifts,
    alerts,
    backfills,
    books: {
      record: (call, asker) => recordEntries({ db }, call, asker),
      stream: (header, messages, asker) => streamEntries({ db }, header, messages, asker),
      async import(header, chunks, asker) {
        const startedMs = performance.now();
        const done = await importBook({ db }, header, chunks, asker);
        const outcome = done.state === 'committed' ? 'committed' : 'rejected';
        events.importFinished({
          importId: done.id,
          book: done.book,
          outcome,
          rows: done.lineCount,
          durationMs: performance.now() - startedMs,
        });
        return listedImport(done);
      },
      getImport: async (id) => listedImport(await getImport({ db }, id)),
      listRows: (filter, page) => entryLists.listRows(filter, page),
      listBalances: (filter, page) => balanceLists.listBookBalances(filter, page),
    },
    ledger: {
      listEntries: (filter, page) => entryLists.listEntries(filter, page),
      listBalances: (filter, page) => balanceLists.listLedgerBalances(filter, page),
      listCoverage: (filter, page) => coverage.listCoverage(filter, page),
      listGaps: (filter, page) => coverage.listGaps(filter, page),
    },
    control,
    exports,
    health: { ...health.port, listLedgerHealth },
    manifests: {
      ...evidence.manifests,
      download: evidence.download,
      placeHold: (call, asker) => evidence.holds.place(call, asker),
      releaseHold: (call, asker) => evidence.holds.release(call, asker),
    },
  };
}

function listedImport({ counts, lineCount, errors, ...rest }: StoredImport): Import {
  return {
    ...rest,
    ...counts,
    lines: lineCount,
    errors: errors.map(({ code, ...error }) => ({ ...error, reason: code })),
  };
}
