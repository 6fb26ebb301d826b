// A Stellar history archive: checkpoints of 64 ledgers in gzipped XDR files, complete and provable from genesis.
import { gunzip } from 'node:zlib';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';

import { messageOf, TrueUpError } from '../core/errors.ts';
import type { LedgerRange, LedgerRecord } from '../core/ledger.ts';
import { decoding, keepPayload } from '../core/raw-payload.ts';
import { watchPredicate } from '../core/watch.ts';
import type { HttpClient } from './http/types.ts';
import type { Source, SourceTip } from './source.ts';
import { openCheckpoint, readCheckpointHeaders, type Checkpoint, type Network } from './stellar/checkpoint.ts';
import { openFileStore, type FileStore, type StoredFile } from './stellar/file-store.ts';
import { verifyChain, type VerifiedHeader } from './stellar/header.ts';
import { boundedCache, checkSpan, insideRequest, plainHeader } from './stellar/reading.ts';
import { networkIdOf } from './stellar/tx-set.ts';
import { corrupt } from './stellar/wire.ts';

export interface ArchiveOptions {
  /** `file:` or `https:`, the folder that holds `.well-known` or `history`. */
  readonly url: string;
  readonly networkPassphrase: string;
  /** Needed for a web address only. */
  readonly http?: Pick<HttpClient, 'getBytes'>;
  readonly maxSpanLedgers?: number;
  readonly maxCachedCheckpoints?: number;
}

const checkpointLedgers = 64;
const defaultMaxSpanLedgers = 256;
/** The tip's checkpoint and the one being read; a decoded checkpoint of a busy network is some tens of megabytes. */
const defaultMaxCachedCheckpoints = 2;
const maxCompressedBytes = 256 * 1024 * 1024;
const maxFileBytes = 1024 * 1024 * 1024;
const pieceBytes = 512 * 1024;
/** Decoding holds the event loop for no longer than this at a stretch. */
const maxDecodeStretchMs = 5;
const maxStateBytes = 4 * 1024 * 1024;

const WELL_KNOWN = '.well-known/stellar-history.json';
const VARIABLE = 'STELLAR_ARCHIVE_URL';

/**
 * Reads `operations` with proof `chained`: every header is hashed and linked, and every transaction and result set is
 * hashed against its header. A file that can't be decompressed or framed, or whose headers don't link, loses its
 * checkpoint; where the headers stand and one set is wrong, only that ledger is lost.
 */
export function createArchiveSource(options: ArchiveOptions): Source {
  const store = openFileStore(options.url, options.http, VARIABLE);
  const network: Network = { passphrase: options.networkPassphrase, id: networkIdOf(options.networkPassphrase) };
  const cache = boundedCache<Checkpoint>(options.maxCachedCheckpoints ?? defaultMaxCachedCheckpoints);
  const maxSpanLedgers = options.maxSpanLedgers ?? defaultMaxSpanLedgers;
  let checkedNetwork = false;

  const state = async (signal: AbortSignal): Promise<number> => {
    const { currentLedger, networkPassphrase } = await readState(store, signal);
    if (networkPassphrase !== undefined && networkPassphrase !== network.passphrase) {
      throw wrongNetwork(networkPassphrase, network.passphrase);
    }
    checkedNetwork = true;
    return currentLedger;
  };

  /** The missing file's reason depends on whether its checkpoint is past the tip. */
  const absent = async (path: string, range: LedgerRange, signal: AbortSignal): Promise<TrueUpError> => {
    const tip = await state(signal);
    if (range.to - 1 > tip) {
      return new TrueUpError(
        'LEDGER_NOT_YET_CLOSED',
        `the archive ends at ledger ${tip}; ledger ${range.to - 1} isn't published yet`,
        { range },
      );
    }
    return new TrueUpError('LEDGER_UNAVAILABLE', `the archive has no ${path}`, {
      range,
      fix: 'Read this range from another archive of the same network.',
    });
  };

  const fetchFile = async (category: Category, range: LedgerRange, signal: AbortSignal): Promise<StoredFile> => {
    const path = pathOf(category, range.to - 1);
    const file = await store.get(path, maxCompressedBytes, signal);
    if (file === undefined) throw await absent(path, range, signal);
    return { bytes: await decompress(file.bytes, path, range), bytesRead: file.bytesRead };
  };

  const open = async (range: LedgerRange, signal: AbortSignal): Promise<Opened> => {
    const known = cache.get(range.from);
    if (known !== undefined) return { checkpoint: known, bytesRead: 0, decodeMs: 0 };
    const [ledger, transactions, results] = await Promise.all([
      fetchFile('ledger', range, signal),
      fetchFile('transactions', range, signal),
      fetchFile('results', range, signal),
    ]);
    const started = performance.now();
    const files = { ledger: ledger.bytes, transactions: transactions.bytes, results: results.bytes };
    const checkpoint = decoding(
      () => ({
        format: 'the ledger, transactions and results files, one after the other',
        bytes: Buffer.concat(Object.values(files)),
      }),
      () => openCheckpoint(files, range, network),
    );
    cache.set(range.from, checkpoint);
    const bytesRead = ledger.bytesRead + transactions.bytesRead + results.bytesRead;
    return { checkpoint, bytesRead, decodeMs: performance.now() - started };
  };

  const headersOf = async (range: LedgerRange, signal: AbortSignal): Promise<readonly VerifiedHeader[]> => {
    const known = cache.get(range.from);
    if (known !== undefined) return known.headers;
    return readCheckpointHeaders((await fetchFile('ledger', range, signal)).bytes, range);
  };

  const header: Source['header'] = async (sequence, signal) => {
    const range = checkpointRange(sequence);
    const headers = await headersOf(range, signal);
    return plainHeader(headers[sequence - range.from]!);
  };

  return {
    kind: 'stellar-archive',
    id: `stellar-archive:${store.label}`,
    networkPassphrase: network.passphrase,
    layers: ['operations'],
    proof: 'chained',
    maxSpanLedgers,

    async tip(signal): Promise<SourceTip> {
      const { sequence, hash, closeTime } = await header(await state(signal), signal);
      return { sequence, hash, closeTime, oldest: 1 };
    },

    header,

    async read({ range, layers, watch }, signal) {
      checkSpan(range, maxSpanLedgers);
      if (!checkedNetwork) await state(signal);
      const keep = watchPredicate(watch);
      const records: LedgerRecord[] = [];
      let bytesRead = 0;
      let decodeMs = 0;
      const ranges = checkpointRanges(range);
      // All are asked for at once; a failure of a later one must not become an unhandled rejection meanwhile.
      const opening = ranges.map((checkpoint) => open(checkpoint, signal));
      for (const promise of opening) promise.catch(() => undefined);
      for (const [index, checkpointSpan] of ranges.entries()) {
        try {
          const opened = await opening[index]!;
          let started = performance.now();
          const to = Math.min(range.to, checkpointSpan.to);
          for (let sequence = Math.max(range.from, checkpointSpan.from); sequence < to; sequence += 1) {
            records.push(opened.checkpoint.record(sequence, layers, keep));
            const spentMs = performance.now() - started;
            if (spentMs < maxDecodeStretchMs) continue;
            // Others have the loop meanwhile: a batch that is being written, and whoever calls.
            decodeMs += spentMs;
            await setImmediate();
            started = performance.now();
          }
          bytesRead += opened.bytesRead;
          decodeMs += opened.decodeMs + performance.now() - started;
        } catch (error) {
          throw insideRequest(error, range);
        }
      }
      verifyChain(records);
      return { range, layers, proof: 'chained', records, last: plainHeader(records.at(-1)!), bytesRead, decodeMs };
    },

    async close() {
      cache.clear();
    },
  };
}

type Category = 'ledger' | 'transactions' | 'results' | 'history';

interface Opened {
  readonly checkpoint: Checkpoint;
  /** 0 where the checkpoint was still at hand. */
  readonly bytesRead: number;
  readonly decodeMs: number;
}

/** Checkpoints end at 63, 127, ...; the first lacks ledger 0, which doesn't exist. */
function checkpointRange(sequence: number): LedgerRange {
  const from = sequence - (sequence % checkpointLedgers);
  return { from: Math.max(from, 1), to: from + checkpointLedgers };
}

function checkpointRanges(range: LedgerRange): LedgerRange[] {
  const ranges: LedgerRange[] = [];
  for (let at = range.from; at < range.to; at = ranges.at(-1)!.to) ranges.push(checkpointRange(at));
  return ranges;
}

function pathOf(category: Category, checkpoint: number): string {
  const hex = checkpoint.toString(16).padStart(8, '0');
  const extension = category === 'history' ? 'json' : 'xdr.gz';
  return `${category}/${hex.slice(0, 2)}/${hex.slice(2, 4)}/${hex.slice(4, 6)}/${category}-${hex}.${extension}`;
}

const gunzipFile = promisify(gunzip);

async function decompress(bytes: Buffer, path: string, range: LedgerRange): Promise<Buffer> {
  try {
    // The default piece of 16 KiB wakes this thread a thousand times a checkpoint.
    return (await gunzipFile(bytes, { maxOutputLength: maxFileBytes, chunkSize: pieceBytes })) as Buffer;
  } catch (error) {
    const bad = corrupt(range, `${path} can't be decompressed: ${messageOf(error)}`, error);
    throw keepPayload(bad, { format: `the file ${path}`, bytes });
  }
}

interface ArchiveState {
  readonly currentLedger: number;
  readonly networkPassphrase: string | undefined;
}

/** The published state; a folder without one (a partial copy) has its newest history file instead. */
async function readState(store: FileStore, signal: AbortSignal): Promise<ArchiveState> {
  let path: string | undefined = WELL_KNOWN;
  let file = await store.get(path, maxStateBytes, signal);
  if (file === undefined) {
    path = await newestHistory(store);
    if (path !== undefined) file = await store.get(path, maxStateBytes, signal);
  }
  if (path === undefined || file === undefined) {
    throw new TrueUpError('SOURCE_UNAVAILABLE', `the archive has neither ${WELL_KNOWN} nor a history file`, {
      fix: `Set ${VARIABLE} to the folder that holds ${WELL_KNOWN}.`,
    });
  }
  try {
    const state = JSON.parse(file.bytes.toString('utf8')) as Partial<ArchiveState>;
    if (!Number.isSafeInteger(state.currentLedger) || state.currentLedger! < 1)
      throw new Error('it names no current ledger');
    return { currentLedger: state.currentLedger!, networkPassphrase: state.networkPassphrase };
  } catch (error) {
    throw new TrueUpError('SOURCE_UNAVAILABLE', `${path} can't be understood: ${messageOf(error)}`, { cause: error });
  }
}

/** history/xx/yy/zz/history-xxyyzznn.json: the greatest name at each of the four levels. */
async function newestHistory(store: FileStore): Promise<string | undefined> {
  let path = 'history';
  for (const pattern of [HEX_FOLDER, HEX_FOLDER, HEX_FOLDER, HISTORY_FILE]) {
    const newest = (await store.list(path))
      ?.filter((name) => pattern.test(name))
      .sort()
      .at(-1);
    if (newest === undefined) return undefined;
    path = `${path}/${newest}`;
  }
  return path;
}

const HEX_FOLDER = /^[0-9a-f]{2}$/;
const HISTORY_FILE = /^history-[0-9a-f]{8}\.json$/;

function wrongNetwork(actual: string, configured: string): TrueUpError {
  return new TrueUpError('SOURCE_WRONG_NETWORK', `the archive is of "${actual}", not of "${configured}"`, {
    fix: `Set STELLAR_NETWORK_PASSPHRASE to the network of ${VARIABLE}, or the other way round.`,
  });
}
