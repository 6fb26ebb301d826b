// The names of a lake (SEP-54): a sequence subtracted from 2^32 - 1 comes first in each name, so the newest sorts first.
import { messageOf, TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import type { FileStore } from './file-store.ts';

export interface LakeConfig {
  readonly ledgersPerBatch: number;
  readonly batchesPerPartition: number;
}

const CONFIG = '.config.json';
const maxConfigBytes = 64 * 1024;
const maxSequence = 0xffff_ffff;
/** Enough to step over `.config.json` and a stray file beside the newest name. */
const listedNames = 20;

/**
 * The lake's own description; batches lie beside it, as Galexie writes them.
 *
 * @throws TrueUpError SOURCE_WRONG_NETWORK, SOURCE_UNAVAILABLE where there is none or it makes no sense.
 */
export async function readLakeConfig(
  store: FileStore,
  networkPassphrase: string,
  signal: AbortSignal,
): Promise<LakeConfig> {
  const file = await store.get(CONFIG, maxConfigBytes, signal);
  if (file === undefined) {
    throw new TrueUpError('SOURCE_UNAVAILABLE', `the lake has no ${CONFIG}`, {
      fix: `Set STELLAR_LAKE_URL to the folder that holds ${CONFIG}.`,
    });
  }
  const config = parseConfig(file.bytes);
  if (config.networkPassphrase !== networkPassphrase) {
    throw new TrueUpError(
      'SOURCE_WRONG_NETWORK',
      `the lake is of "${config.networkPassphrase}", not of "${networkPassphrase}"`,
      {
        fix: 'Set STELLAR_NETWORK_PASSPHRASE to the network of STELLAR_LAKE_URL, or the other way round.',
      },
    );
  }
  return config;
}

/** The ledgers of the batch that holds `sequence`. The network's ledger 1 has no metadata, so batches may begin before it. */
export function batchRange(sequence: number, { ledgersPerBatch }: LakeConfig): LedgerRange {
  const from = sequence - (sequence % ledgersPerBatch);
  return { from, to: from + ledgersPerBatch };
}

/** The path of the batch that holds `sequence`, relative to the lake. */
export function batchKey(sequence: number, lake: LakeConfig, extension: '.zst' | '.zstd'): string {
  const { from, to } = batchRange(sequence, lake);
  const name = lake.ledgersPerBatch === 1 ? spanName(from) : spanName(from, to - 1);
  const file = `${name}.xdr${extension}`;
  if (lake.batchesPerPartition <= 1) return file;
  const size = lake.ledgersPerBatch * lake.batchesPerPartition;
  const start = from - (from % size);
  return `${spanName(start, start + size - 1)}/${file}`;
}

/** The ledgers of the newest batch. @throws TrueUpError SOURCE_UNAVAILABLE where the lake is empty or can't be listed. */
export async function newestBatch(store: FileStore, lake: LakeConfig, signal: AbortSignal): Promise<LedgerRange> {
  let folder = '';
  if (lake.batchesPerPartition > 1) {
    folder = (await store.first('', listedNames, signal))?.find((name) => PARTITION.test(name)) ?? '';
    if (folder === '') throw unlisted();
  }
  const newest = (await store.first(folder, listedNames, signal))?.find((name) => BATCH.test(name));
  if (newest === undefined) throw unlisted();
  return batchRange(Number(BATCH.exec(newest)![1]), lake);
}

/** The first ledger that a folder holds; of a web host the standard's own, because its end can't be listed. */
export async function oldestBatch(store: FileStore, lake: LakeConfig): Promise<number> {
  const last = async (path: string, pattern: RegExp): Promise<string | undefined> =>
    (await store.list(path))
      ?.filter((name) => pattern.test(name))
      .sort()
      .at(-1);
  const folder = lake.batchesPerPartition > 1 ? await last('', PARTITION) : '';
  const oldest = folder === undefined ? undefined : await last(folder, BATCH);
  return oldest === undefined ? FIRST_LEDGER_WITH_META : Math.max(1, Number(BATCH.exec(oldest)![1]));
}

const FIRST_LEDGER_WITH_META = 2;
const PARTITION = /^[0-9A-F]{8}--\d+-\d+$/;
const BATCH = /^[0-9A-F]{8}--(\d+)(?:-\d+)?\.xdr\.zstd?$/;

function spanName(from: number, last?: number): string {
  const inverted = (maxSequence - from).toString(16).toUpperCase().padStart(8, '0');
  return last === undefined ? `${inverted}--${from}` : `${inverted}--${from}-${last}`;
}

function parseConfig(bytes: Buffer): LakeConfig & { networkPassphrase: string } {
  try {
    const { networkPassphrase, compression, ledgersPerBatch, batchesPerPartition } = JSON.parse(
      bytes.toString('utf8'),
    ) as Record<string, unknown>;
    if (typeof networkPassphrase !== 'string') throw new Error('networkPassphrase is missing');
    if (compression !== 'zstd') throw new Error(`compression ${String(compression)} isn't zstd`);
    return {
      networkPassphrase,
      ledgersPerBatch: positive(ledgersPerBatch, 'ledgersPerBatch'),
      batchesPerPartition: positive(batchesPerPartition, 'batchesPerPartition'),
    };
  } catch (error) {
    throw new TrueUpError('SOURCE_UNAVAILABLE', `the lake's ${CONFIG} can't be understood: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function positive(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value;
  throw new Error(`${name} isn't a positive integer`);
}

function unlisted(): TrueUpError {
  return new TrueUpError(
    'SOURCE_UNAVAILABLE',
    "the newest batch of the lake can't be found: the folder is empty or may not be listed",
    {
      fix: 'Give STELLAR_LAKE_URL a bucket whose listing is allowed, or a folder.',
    },
  );
}
