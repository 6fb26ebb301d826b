// What the export job does: rows of one moment into an artifact, then manifest and export in one transaction.
import { randomUUID } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import type { EntityManager } from '@mikro-orm/postgresql';
import { EXPORT_COLUMNS, schemaOf, type ExportableKind } from '../core/export-columns.ts';
import { exportFileName, type ExportProgress } from '../core/export.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import type { ManifestContent } from '../core/manifest.ts';
import type { ArtifactWriter } from '../outbound/artifact-writer.ts';
import type { FileArtifacts } from '../outbound/artifacts.ts';
import type { Database } from '../store/database.ts';
import { copyStatement } from '../store/export-rows.ts';
import { withExportSnapshot, type ExportSnapshot } from '../store/export-snapshot.ts';
import { beginExport, completeExport, endExport, noteExportProgress, type HeldExport } from '../store/exports.ts';
import type { Events } from '../telemetry/events.ts';
import type { ManifestDraft } from './evidence-log.ts';
import { linesOf, RowCounter, stagesOf } from './export-bytes.ts';
import { factsOf, manifestFilter, type ExportFacts } from './export-facts.ts';
import { statementRows } from './statement.ts';
import type { StatementBookDeps } from './statement-book.ts';

export interface RunExportDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
  readonly artifacts: Pick<FileArtifacts, 'create' | 'remove'>;
  /** Signs and logs it in the transaction of `em`; returns its id. */
  readonly recordManifest: (em: EntityManager, draft: ManifestDraft) => Promise<string>;
  readonly generator: ManifestContent['generator'];
  readonly events: Pick<Events, 'exportFinished'>;
  readonly books: StatementBookDeps;
}

interface Attempt {
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly signal: AbortSignal;
}

const PROGRESS_INTERVAL_MS = 500;

export async function runExport(deps: RunExportDeps, id: string, attempt: Attempt): Promise<void> {
  const job = await beginExport(deps.db.em(), id);
  if (job === null) return;
  const startedMs = performance.now();
  const finished = (outcome: 'completed' | 'failed' | 'cancelled', progress: ExportProgress | null): void =>
    deps.events.exportFinished({
      exportId: id,
      kind: job.kind,
      outcome,
      rows: progress?.rows ?? 0,
      bytes: progress?.bytes ?? 0,
      durationMs: performance.now() - startedMs,
    });
  try {
    finished('completed', await write(deps, job, attempt.signal));
  } catch (error) {
    if (isTrueUpError(error, 'RUN_ALREADY_FINISHED')) {
      if (await endExport(deps.db.em(), job, 'cancelled', null)) finished('cancelled', null);
      return;
    }
    if (attempt.signal.aborted || attempt.attempt < attempt.maxAttempts) throw error;
    const known = isTrueUpError(error);
    const failure = {
      reason: known ? error.reason : ('INTERNAL' as const),
      message: known ? messageOf(error) : 'internal error',
      fix: (known && error.details.fix) || '',
    };
    if (await endExport(deps.db.em(), job, 'failed', failure)) finished('failed', null);
    throw error;
  }
}

async function write(deps: RunExportDeps, job: HeldExport, signal: AbortSignal): Promise<ExportProgress> {
  // Of this attempt alone: a worker that was taken for dead and isn't must not touch its successor's.
  const artifactId = randomUUID();
  const writer = deps.artifacts.create(artifactId);
  const stopping = new AbortController();
  const stop = AbortSignal.any([signal, stopping.signal]);
  const counter = new RowCounter();
  const progressOf = (rows: number): ExportProgress => ({
    totalRows: null,
    rows,
    bytes: writer.writtenBytes,
    updatedAt: new Date(),
  });
  const timer = setInterval(() => {
    void noteExportProgress(deps.db.em(), job, progressOf(Math.max(0, counter.rows - headerLines(job))))
      .then((goOn) => goOn || stopping.abort(notOurs(job)))
      // Progress that can't be noted costs nothing; the last statement of the export decides.
      .catch(() => undefined);
  }, PROGRESS_INTERVAL_MS);
  try {
    const { facts, rows } = await withExportSnapshot(deps.db, async (snapshot) => {
      const facts = await factsOf(snapshot.em, job, deps.networkPassphrase);
      return { facts, rows: await writeRows(deps, snapshot, job, facts, counter, writer, stop) };
    });
    if (stopping.signal.aborted) throw notOurs(job);
    const progress = progressOf(rows);
    await complete(deps, job, artifactId, facts, writer, progress);
    return progress;
  } catch (error) {
    await writer.discard();
    throw stopping.signal.aborted ? notOurs(job) : error;
  } finally {
    clearInterval(timer);
  }
}

/** Returns how many rows there are. */
async function writeRows(
  { books }: Pick<RunExportDeps, 'books'>,
  snapshot: ExportSnapshot,
  job: HeldExport,
  facts: ExportFacts,
  counter: RowCounter,
  writer: ArtifactWriter,
  signal: AbortSignal,
): Promise<number> {
  const { format, compression, filter } = job;
  const kind = job.kind as ExportableKind;
  const stages = stagesOf(format, compression);
  if (kind === 'statement') {
    let rows = 0;
    const lines = linesOf(
      statementRows(snapshot.em, books, facts.scope!, filter, signal),
      EXPORT_COLUMNS.statement,
      format,
      (count) => (rows += count),
    );
    await pipeline([lines, counter, ...stages, writer], { signal });
    return rows;
  }
  const { scope } = facts;
  const selection = scope && { streamId: scope.stream.id, streamName: scope.stream.name, range: scope.range };
  const lines = snapshot.copy(copyStatement(kind, format, filter, selection));
  await pipeline([lines, counter, ...stages, writer], { signal });
  // The server's own count: it knows which newlines are inside of a cell.
  return lines.rowCount;
}

/** One transaction: manifest and export. Whoever cancelled it, or took it over, finds nothing of it. */
async function complete(
  deps: RunExportDeps,
  job: HeldExport,
  artifactId: string,
  facts: ExportFacts,
  writer: ArtifactWriter,
  progress: ExportProgress,
): Promise<void> {
  const written = await writer.publish();
  const draft: ManifestDraft = {
    exportId: job.id,
    artifactId,
    requester: job.requester,
    fileName: exportFileName(job, job.createdAt),
    content: {
      kind: job.kind,
      format: job.format,
      compression: job.compression,
      schema: schemaOf(job.kind),
      columns: EXPORT_COLUMNS[job.kind as ExportableKind].map(({ name, type }) => ({ name, type })),
      rowCount: progress.rows,
      filter: manifestFilter(job.filter),
      cut: facts.cut,
      ...written,
      coverage: facts.coverage,
      runs: facts.runs,
      sandbox: job.sandbox,
      generator: deps.generator,
    },
  };
  try {
    await deps.db.em().transactional(async (em) => {
      const manifestId = await deps.recordManifest(em, draft);
      if (!(await completeExport(em, job, { progress, manifestId, artifactId }))) throw notOurs(job);
    });
  } catch (error) {
    await deps.artifacts.remove(artifactId);
    throw error;
  }
}

function headerLines({ format }: HeldExport): number {
  return format === 'csv' ? 1 : 0;
}

function notOurs({ id }: HeldExport): TrueUpError {
  return new TrueUpError('RUN_ALREADY_FINISHED', `export ${id} was cancelled, or another worker has it now`);
}
