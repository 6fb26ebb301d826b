// A far network in memory: hash-chained ledgers of five seconds, with faults to order. What it is asked for is written down.
import { createHash } from 'node:crypto';
import type { Entry, Layer } from '../../src/core/entry.ts';
import { TrueUpError, type ErrorDetails, type Reason } from '../../src/core/errors.ts';
import type { CoverageProof, LedgerBatch, LedgerHeader, LedgerRange, LedgerRecord } from '../../src/core/ledger.ts';
import { watchPredicate } from '../../src/core/watch.ts';
import type { ReadRequest, Source, SourceTip } from '../../src/sources/source.ts';
import { closeTimeOf, entryByHand, type EntryByHand } from './ledger-rows.ts';

export interface Fault {
  readonly reason: Reason;
  /** Whether the error says which ledger it is about. */
  readonly named: boolean;
  /** How often it shows; for ever unless told. */
  times?: number;
  readonly details?: ErrorDetails;
}

export interface FakeSource extends Source {
  tipLedger: number;
  oldest: number;
  /** By ledger: a read of a range that holds it fails. */
  readonly faults: Map<number, Fault>;
  /** Thrown by `tip` while it is there. */
  tipFault: TrueUpError | null;
  /** From this ledger on the history is another one. */
  forkAt: number;
  /** Changes a batch on its way out. */
  tamper: ((batch: LedgerBatch) => LedgerBatch) | null;
  /** Reads answer only after it. */
  gate: Promise<void> | null;
  /** Ranges that were asked for, in order. */
  readonly reads: LedgerRange[];
  tipCalls: number;
}

export interface FakeOptions {
  readonly passphrase: string;
  readonly tip: number;
  readonly entries?: (ledger: number) => readonly EntryByHand[];
  readonly maxSpanLedgers?: number;
  readonly proof?: CoverageProof;
  readonly layers?: readonly Layer[];
}

export function createFakeSource(options: FakeOptions): FakeSource {
  const entriesOf = options.entries ?? ((ledger) => [{ ledger, account: 'GSHOP', amount: BigInt(ledger) }]);
  const hashAt = (ledger: number): string =>
    createHash('sha256')
      .update(`${options.passphrase} ${ledger} ${ledger >= source.forkAt ? 'fork' : ''}`)
      .digest('hex');
  const header = (ledger: number): LedgerHeader => ({
    sequence: ledger,
    hash: hashAt(ledger),
    prevHash: hashAt(ledger - 1),
    closeTime: closeTimeOf(ledger),
  });
  const source: FakeSource = {
    kind: 'stellar-archive',
    id: `stellar-archive:${options.passphrase}`,
    networkPassphrase: options.passphrase,
    layers: options.layers ?? ['operations'],
    proof: options.proof ?? 'chained',
    maxSpanLedgers: options.maxSpanLedgers ?? 64,
    tipLedger: options.tip,
    oldest: 1,
    faults: new Map(),
    tipFault: null,
    forkAt: Infinity,
    tamper: null,
    gate: null,
    reads: [],
    tipCalls: 0,
    tip(): Promise<SourceTip> {
      source.tipCalls++;
      if (source.tipFault) return Promise.reject(source.tipFault);
      return Promise.resolve({ ...header(source.tipLedger), oldest: source.oldest });
    },
    header: (sequence) => Promise.resolve(header(sequence)),
    async read({ range, layers, watch }: ReadRequest, signal): Promise<LedgerBatch> {
      source.reads.push(range);
      await untilAborted(source.gate, signal);
      for (const [ledger, fault] of [...source.faults].sort((a, b) => a[0] - b[0])) {
        if (ledger < range.from || ledger >= range.to || fault.times === 0) continue;
        if (fault.times !== undefined) fault.times--;
        const at = fault.named ? { range: { from: ledger, to: ledger + 1 } } : {};
        throw new TrueUpError(fault.reason, `ledger ${ledger} by order`, { ...at, ...fault.details });
      }
      const watched = watchPredicate(watch);
      const records = Array.from({ length: range.to - range.from }, (_, i): LedgerRecord => {
        const sequence = range.from + i;
        const entries = entriesOf(sequence)
          .map(entryByHand)
          .filter((entry: Entry) => watched(entry.account) && layers.includes(entry.layer));
        return { ...header(sequence), txCount: entries.length, entries, underived: [] };
      });
      const kept = source.proof === 'chained' ? records : records.filter((record) => record.entries.length > 0);
      const batch: LedgerBatch = {
        range,
        layers,
        proof: source.proof,
        records: kept,
        last: header(range.to - 1),
        bytesRead: 1,
        decodeMs: 0,
      };
      return source.tamper?.(batch) ?? batch;
    },
    close: () => Promise.resolve(),
  };
  return source;
}

/** As a far system's answer is waited for: until it comes or nobody wants it any more. */
async function untilAborted(answer: Promise<void> | null, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<never>((_resolve, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
  );
  aborted.catch(() => undefined);
  if (answer !== null) await Promise.race([answer, aborted]);
  signal.throwIfAborted();
}
