// Exports to messages and back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  ExportCompression,
  ExportFilter,
  ExportFormat,
  ExportJob,
  ExportKind,
  ExportProgress,
  ExportState,
} from '../core/export.ts';
import {
  ExportCompression as CompressionMessage,
  type ExportFilter as ExportFilterMessage,
  type ExportFilterSchema,
  ExportFormat as FormatMessage,
  ExportKind as KindMessage,
  type ExportProgressSchema,
  type ExportSchema,
  ExportState as StateMessage,
} from '../../gen/trueup/v1/manifest_pb.js';
import {
  fromRange,
  fromTimestamp,
  LAYER_OUT,
  layerIn,
  optionalFailure,
  optionalTimestamp,
  orAll,
  present,
  readAll,
  reader,
  toDuration,
  toRange,
  toTimestamp,
} from './convert-common.ts';
import { DRIFT_KIND_OUT, DRIFT_STATE_OUT, driftKindIn, driftStateIn } from './convert-drift.ts';

export const EXPORT_KIND_OUT: Record<ExportKind, KindMessage> = {
  entries: KindMessage.ENTRIES,
  drifts: KindMessage.DRIFTS,
  runs: KindMessage.RUNS,
  sweep_actions: KindMessage.SWEEP_ACTIONS,
  audit: KindMessage.AUDIT,
  statement: KindMessage.STATEMENT,
};
export const EXPORT_FORMAT_OUT: Record<ExportFormat, FormatMessage> = {
  csv: FormatMessage.CSV,
  jsonl: FormatMessage.JSONL,
  json: FormatMessage.JSON,
};
const COMPRESSION_OUT: Record<ExportCompression, CompressionMessage> = {
  none: CompressionMessage.NONE,
  gzip: CompressionMessage.GZIP,
  zstd: CompressionMessage.ZSTD,
};
const STATE_OUT: Record<ExportState, StateMessage> = {
  pending: StateMessage.PENDING,
  processing: StateMessage.PROCESSING,
  completed: StateMessage.COMPLETED,
  failed: StateMessage.FAILED,
  cancelled: StateMessage.CANCELLED,
};

export const exportKindIn = reader(EXPORT_KIND_OUT);
export const exportFormatIn = reader(EXPORT_FORMAT_OUT);
export const exportCompressionIn = reader(COMPRESSION_OUT);
export const exportStateIn = reader(STATE_OUT);

export function toExport(job: ExportJob): MessageInitShape<typeof ExportSchema> {
  return {
    id: job.id,
    kind: EXPORT_KIND_OUT[job.kind],
    format: EXPORT_FORMAT_OUT[job.format],
    compression: COMPRESSION_OUT[job.compression],
    filter: toExportFilter(job.filter),
    state: STATE_OUT[job.state],
    progress: job.progress === null ? undefined : toProgress(job, job.progress),
    manifestId: job.manifestId ?? '',
    artifactId: job.artifactId ?? '',
    error: optionalFailure(job.error),
    requester: job.requester,
    createTime: toTimestamp(job.createdAt),
    startTime: optionalTimestamp(job.startedAt),
    completeTime: optionalTimestamp(job.completedAt),
    requestId: job.requestId ?? '',
    sandbox: job.sandbox,
  };
}

function toProgress(job: ExportJob, progress: ExportProgress): MessageInitShape<typeof ExportProgressSchema> {
  const { totalRows, rows, bytes, updatedAt } = progress;
  const elapsedMs = job.startedAt === null ? 0 : updatedAt.getTime() - job.startedAt.getTime();
  const isMeasured = elapsedMs > 0 && rows > 0;
  return {
    sequence: job.sequence.toString(),
    ...(totalRows !== null && { totalRowCount: BigInt(totalRows) }),
    processedRowCount: BigInt(rows),
    writtenBytes: BigInt(bytes),
    ...(isMeasured && { rowRates: { perSecondLife: (rows * 1000) / elapsedMs } }),
    ...(isMeasured &&
      totalRows !== null &&
      job.state === 'processing' && { eta: toDuration(Math.max(0, ((totalRows - rows) * elapsedMs) / rows)) }),
    updateTime: toTimestamp(updatedAt),
  };
}

export function toExportFilter(filter: ExportFilter): MessageInitShape<typeof ExportFilterSchema> {
  const { stream, book, policy, accounts, assets, kinds, actor } = filter;
  return present({
    ...{ stream, book, policy, actor },
    layer: filter.layer && LAYER_OUT[filter.layer],
    range: filter.range && toRange(filter.range),
    startTime: filter.from && toTimestamp(filter.from),
    endTime: filter.to && toTimestamp(filter.to),
    accounts: accounts && [...accounts],
    assets: assets && [...assets],
    kinds: kinds && [...kinds],
    driftStates: filter.driftStates?.map((state) => DRIFT_STATE_OUT[state]),
    driftKinds: filter.driftKinds?.map((kind) => DRIFT_KIND_OUT[kind]),
    reconciliationId: filter.runId,
    sweepId: filter.sweepId,
  });
}

export function fromExportFilter(filter: ExportFilterMessage | undefined): ExportFilter {
  if (filter === undefined) return {};
  return present({
    stream: orAll(filter.stream),
    layer: layerIn(filter.layer),
    book: orAll(filter.book),
    policy: orAll(filter.policy),
    range: filter.range && fromRange(filter.range),
    from: filter.startTime && fromTimestamp(filter.startTime, 'filter.start_time'),
    to: filter.endTime && fromTimestamp(filter.endTime, 'filter.end_time'),
    accounts: listed(filter.accounts),
    assets: listed(filter.assets),
    kinds: listed(filter.kinds),
    driftStates: listed(readAll(filter.driftStates, driftStateIn)),
    driftKinds: listed(readAll(filter.driftKinds, driftKindIn)),
    runId: orAll(filter.reconciliationId),
    sweepId: orAll(filter.sweepId),
    actor: orAll(filter.actor),
  });
}

function listed<T>(values: readonly T[]): readonly T[] | undefined {
  return values.length === 0 ? undefined : values;
}
