// The four services, filled.
import { BackfillService } from '../../gen/trueup/v1/backfill_service_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { alertHandlers } from './alerts.ts';
import { backfillHandlers } from './backfill.ts';
import { bookHandlers } from './book.ts';
import { driftHandlers } from './drifts.ts';
import { exportHandlers } from './exports.ts';
import { healthHandlers } from './health.ts';
import { ledgerControlHandlers } from './ledger-control.ts';
import { manifestHandlers } from './manifest.ts';
import { serve, type ServiceRoutes } from './methods.ts';
import type { RpcPorts } from './ports.ts';
import { reconciliationHandlers } from './reconciliation.ts';
import { rowHandlers } from './rows.ts';

export const SERVICE_NAMES: readonly string[] = [
  ReconciliationService,
  BackfillService,
  ManifestService,
  HealthService,
].map(({ typeName }) => typeName);

export function createServices(ports: RpcPorts): readonly ServiceRoutes[] {
  const reconciliation = {
    ...reconciliationHandlers(ports),
    ...driftHandlers(ports),
    ...bookHandlers(ports),
    ...rowHandlers(ports),
    ...alertHandlers(ports),
  };
  return [
    serve(ReconciliationService, reconciliation),
    serve(BackfillService, { ...backfillHandlers(ports), ...ledgerControlHandlers(ports) }),
    serve(ManifestService, { ...exportHandlers(ports), ...manifestHandlers(ports) }),
    serve(HealthService, healthHandlers(ports)),
  ];
}
