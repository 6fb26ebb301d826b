// An export: rows of one kind, written into an artifact by a job that ends with a manifest, or with none.
import type { DriftKind, DriftState } from './drift.ts';
import type { Layer } from './entry.ts';
import type { LedgerRange } from './ledger.ts';
import type { Failure } from './status.ts';

export const EXPORT_KINDS = ['entries', 'drifts', 'runs', 'sweep_actions', 'audit', 'statement'] as const;
export type ExportKind = (typeof EXPORT_KINDS)[number];

export const EXPORT_FORMATS = ['csv', 'jsonl', 'json'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export const EXPORT_COMPRESSIONS = ['none', 'gzip', 'zstd'] as const;
export type ExportCompression = (typeof EXPORT_COMPRESSIONS)[number];

export const EXPORT_STATES = ['pending', 'processing', 'completed', 'failed', 'cancelled'] as const;
export type ExportState = (typeof EXPORT_STATES)[number];

/** Absent fields, and empty lists, select everything; those of different fields must all hold. */
export interface ExportFilter {
  /** Absent: the stream that is followed. */
  readonly stream?: string;
  /** Absent: operations. */
  readonly layer?: Layer;
  /** Absent: `default`. */
  readonly book?: string;
  readonly policy?: string;
  /** Half-open. */
  readonly range?: LedgerRange;
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly to?: Date;
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
  readonly kinds?: readonly string[];
  readonly driftStates?: readonly DriftState[];
  readonly driftKinds?: readonly DriftKind[];
  readonly runId?: string;
  readonly sweepId?: string;
  readonly actor?: string;
}

export interface ExportOrder {
  readonly kind: ExportKind;
  readonly format: ExportFormat;
  readonly compression: ExportCompression;
  readonly filter: ExportFilter;
  /** Null: made of kind, range and time. */
  readonly fileName: string | null;
}

export interface ExportProgress {
  /** Rows in all; null: not counted beforehand. */
  readonly totalRows: number | null;
  readonly rows: number;
  readonly bytes: number;
  readonly updatedAt: Date;
}

export interface ExportJob extends ExportOrder {
  /** UUID. */
  readonly id: string;
  readonly state: ExportState;
  readonly progress: ExportProgress | null;
  readonly manifestId: string | null;
  readonly artifactId: string | null;
  readonly error: Failure | null;
  /** The token's name. */
  readonly requester: string;
  readonly requestId: string | null;
  readonly sandbox: boolean;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly completedAt: Date | null;
  /** Rises with every change, over all exports: where a lost watcher resumes. */
  readonly sequence: bigint;
}

export interface ExportListFilter {
  readonly states?: readonly ExportState[];
  readonly kinds?: readonly ExportKind[];
  readonly requester?: string;
}

export function isExportOver({ state }: Pick<ExportJob, 'state'>): boolean {
  return state === 'completed' || state === 'failed' || state === 'cancelled';
}

const MEDIA_TYPES: Readonly<Record<ExportFormat, string>> = {
  csv: 'text/csv',
  jsonl: 'application/jsonl',
  json: 'application/json',
};
const COMPRESSED_TYPES = { gzip: 'application/gzip', zstd: 'application/zstd' } as const;
const SUFFIXES: Readonly<Record<ExportCompression, string>> = { none: '', gzip: '.gz', zstd: '.zst' };

export function mediaTypeOf({ format, compression }: Pick<ExportOrder, 'format' | 'compression'>): string {
  return compression === 'none' ? MEDIA_TYPES[format] : COMPRESSED_TYPES[compression];
}

/** The caller's name as it is, or `trueup-<kind>[-<first>-<last>]-<time>.<suffixes>`. */
export function exportFileName(order: ExportOrder, createdAt: Date): string {
  if (order.fileName !== null) return order.fileName;
  const { range } = order.filter;
  const ledgers = range === undefined ? '' : `-${range.from}-${range.to - 1}`;
  const time = createdAt.toISOString().replace(/\.\d+/, '').replaceAll(/[-:]/g, '');
  return `trueup-${order.kind}${ledgers}-${time}.${order.format}${SUFFIXES[order.compression]}`;
}
