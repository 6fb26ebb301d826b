// A ledger lake (SEP-54): LedgerCloseMeta in zstd batches under names that put the newest ledger first.
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';

import { xdr } from '@stellar/stellar-sdk/base';

import { messageOf, TrueUpError } from '../core/errors.ts';
import type { LedgerRange, LedgerRecord } from '../core/ledger.ts';
import { decoding, keepPayload } from '../core/raw-payload.ts';
import { watchPredicate } from '../core/watch.ts';
import type { HttpClient } from './http/types.ts';
import type { Source, SourceTip } from './source.ts';
import { openFileStore, type FileStore } from './stellar/file-store.ts';
import { verifyChain } from './stellar/header.ts';
import {
  batchKey,
  batchRange,
  newestBatch,
  oldestBatch,
  readLakeConfig,
  type LakeConfig,
} from './stellar/lake-layout.ts';
import { ledgerCloseMetaHeader, ledgerCloseMetaReader } from './stellar/ledger-close-meta.ts';
import { boundedCache, checkSpan, insideRequest, plainHeader } from './stellar/reading.ts';
import { corrupt, decodeXdr, type LedgerCloseMetaWire } from './stellar/wire.ts';

export interface LakeOptions {
  /** `file:` or `https:`, the folder that holds `.config.json`. */
  readonly url: string;
  readonly networkPassphrase: string;
  /** Needed for a web address only. */
  readonly http?: Pick<HttpClient, 'getBytes'>;
  readonly maxSpanLedgers?: number;
}

/** A busy ledger's metadata is about a megabyte and takes tens of milliseconds to decode. */
const defaultMaxSpanLedgers = 64;
const maxReadsInFlight = 8;
const maxCachedBatches = 1;
const maxCompressedBytes = 256 * 1024 * 1024;
const maxBatchBytes = 1024 * 1024 * 1024;

const VARIABLE = 'STELLAR_LAKE_URL';

/** Reads both layers with proof `chained`: headers, transaction sets and result sets are hashed as in an archive. */
export function createLakeSource(options: LakeOptions): Source {
  const store = openFileStore(options.url, options.http, VARIABLE);
  const reader = ledgerCloseMetaReader(options.networkPassphrase);
  const maxSpanLedgers = options.maxSpanLedgers ?? defaultMaxSpanLedgers;
  const cache = boundedCache<readonly LedgerCloseMetaWire[]>(maxCachedBatches);
  let known: LakeConfig | undefined;

  const config = async (signal: AbortSignal): Promise<LakeConfig> => {
    known ??= await readLakeConfig(store, options.networkPassphrase, signal);
    return known;
  };

  const absent = async (range: LedgerRange, lake: LakeConfig, signal: AbortSignal): Promise<TrueUpError> => {
    const newest = await newestBatch(store, lake, signal);
    if (range.from >= newest.to) {
      return new TrueUpError(
        'LEDGER_NOT_YET_CLOSED',
        `the lake ends at ledger ${newest.to - 1}; ledger ${range.from} isn't published yet`,
        { range },
      );
    }
    return new TrueUpError('LEDGER_UNAVAILABLE', `the lake has no ${batchKey(range.from, lake, '.zst')}`, {
      range,
      fix: 'Read this range from another source of the same network.',
    });
  };

  const fetchBatch = async (range: LedgerRange, lake: LakeConfig, signal: AbortSignal): Promise<FetchedBatch> => {
    const file = await getEither(store, range.from, lake, signal);
    if (file === undefined) throw await absent(range, lake, signal);
    return { bytes: await decompress(file.bytes, range), bytesRead: file.bytesRead };
  };

  const header: Source['header'] = async (sequence, signal) => {
    const lake = await config(signal);
    const range = batchRange(sequence, lake);
    let metas = cache.get(range.from);
    if (metas === undefined) {
      metas = decodeBatch((await fetchBatch(range, lake, signal)).bytes, range);
      cache.set(range.from, metas);
    }
    return plainHeader(ledgerCloseMetaHeader(metas[sequence - range.from]!));
  };

  return {
    kind: 'stellar-lake',
    id: `stellar-lake:${store.label}`,
    networkPassphrase: options.networkPassphrase,
    layers: ['operations', 'token_events'],
    proof: 'chained',
    maxSpanLedgers,

    async tip(signal): Promise<SourceTip> {
      const lake = await config(signal);
      const newest = await newestBatch(store, lake, signal);
      const { sequence, hash, closeTime } = await header(newest.to - 1, signal);
      return { sequence, hash, closeTime, oldest: await oldestBatch(store, lake) };
    },

    header,

    async read({ range, layers, watch }, signal) {
      checkSpan(range, maxSpanLedgers);
      const lake = await config(signal);
      const keep = watchPredicate(watch);
      const records: LedgerRecord[] = [];
      let bytesRead = 0;
      let decodeMs = 0;
      const batches = batchesOf(range, lake);
      for await (const [batch, fetched] of readAhead(batches, (span) => fetchBatch(span, lake, signal))) {
        const started = performance.now();
        try {
          const { bytes, bytesRead: size } = await fetched;
          const metas = decoding(batchOf(bytes), () => decodeBatch(bytes, batch));
          bytesRead += size;
          const to = Math.min(range.to, batch.to);
          for (let sequence = Math.max(range.from, batch.from); sequence < to; sequence += 1) {
            const record = decoding(batchOf(bytes), () => {
              const found = reader.read(metas[sequence - batch.from]!, layers, keep);
              if (found.sequence === sequence) return found;
              throw corrupt(batch, `the batch holds ledger ${found.sequence} in the place of ${sequence}`);
            });
            records.push(record);
          }
        } catch (error) {
          throw insideRequest(error, range);
        }
        decodeMs += performance.now() - started;
      }
      verifyChain(records);
      return { range, layers, proof: 'chained', records, last: plainHeader(records.at(-1)!), bytesRead, decodeMs };
    },

    async close() {
      cache.clear();
    },
  };
}

interface FetchedBatch {
  readonly bytes: Buffer;
  readonly bytesRead: number;
}

function batchesOf(range: LedgerRange, lake: LakeConfig): LedgerRange[] {
  const batches: LedgerRange[] = [];
  for (let at = range.from; at < range.to; at = batches.at(-1)!.to) batches.push(batchRange(at, lake));
  return batches;
}

/** In order, with a bounded number under way; a failure surfaces when its turn comes. */
async function* readAhead(
  batches: readonly LedgerRange[],
  fetchBatch: (range: LedgerRange) => Promise<FetchedBatch>,
): AsyncGenerator<readonly [LedgerRange, Promise<FetchedBatch>]> {
  const underway: Promise<FetchedBatch>[] = [];
  let next = 0;
  for (const batch of batches) {
    while (next < batches.length && underway.length < maxReadsInFlight) {
      const promise = fetchBatch(batches[next]!);
      promise.catch(() => undefined);
      underway.push(promise);
      next += 1;
    }
    const first = underway.shift()!;
    await first.catch(() => undefined);
    yield [batch, first];
  }
}

/** Galexie wrote `.zstd` before the standard settled on `.zst`. */
async function getEither(store: FileStore, sequence: number, lake: LakeConfig, signal: AbortSignal) {
  const newName = await store.get(batchKey(sequence, lake, '.zst'), maxCompressedBytes, signal);
  return newName ?? store.get(batchKey(sequence, lake, '.zstd'), maxCompressedBytes, signal);
}

const unzstd = promisify(zstdDecompress);

async function decompress(bytes: Buffer, range: LedgerRange): Promise<Buffer> {
  try {
    return (await unzstd(bytes, { maxOutputLength: maxBatchBytes })) as Buffer;
  } catch (error) {
    const bad = corrupt(range, `the batch can't be decompressed: ${messageOf(error)}`, error);
    throw keepPayload(bad, { format: 'a zstd file of the lake', bytes });
  }
}

const batchOf = (bytes: Uint8Array) => () => ({ format: 'LedgerCloseMetaBatch XDR', bytes });

function decodeBatch(bytes: Buffer, range: LedgerRange): readonly LedgerCloseMetaWire[] {
  const batch = decodeXdr(xdr.LedgerCloseMetaBatch.schema, bytes, 'the batch', range);
  const expected = range.to - range.from;
  if (
    batch.startSequence !== range.from ||
    batch.endSequence !== range.to - 1 ||
    batch.ledgerCloseMetas.length !== expected
  ) {
    const { startSequence, endSequence, ledgerCloseMetas } = batch;
    throw corrupt(
      range,
      `the batch says it holds ${startSequence} to ${endSequence} and holds ${ledgerCloseMetas.length} ledgers`,
    );
  }
  return batch.ledgerCloseMetas;
}
