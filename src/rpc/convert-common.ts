// Values to messages and back, the small ones: times, ranges, money, reasons, and the enums that several nouns share.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt';
import { assetScale } from '../core/asset.ts';
import type { EntryStatus, Layer } from '../core/entry.ts';
import { type Reason, TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { formatAmount } from '../core/money.ts';
import type { Join, Level } from '../core/policy.ts';
import type { Failure, Provenance } from '../core/status.ts';
import {
  type FailureSchema,
  Level as LevelMessage,
  type LedgerRange as LedgerRangeMessage,
  type MoneySchema,
  type ProvenanceSchema,
} from '../../gen/trueup/v1/common_pb.js';
import { EntryStatus as EntryStatusMessage, Layer as LayerMessage } from '../../gen/trueup/v1/entry_pb.js';
import { ErrorReason } from '../../gen/trueup/v1/error_reason_pb.js';
import { Join as JoinMessage } from '../../gen/trueup/v1/policy_pb.js';

type TimestampInit = Pick<Timestamp, 'seconds' | 'nanos'>;
type DurationInit = Pick<Duration, 'seconds' | 'nanos'>;

export function toTimestamp(at: Date): TimestampInit {
  const ms = at.getTime();
  const seconds = Math.floor(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1_000) * 1_000_000 };
}

/** For fields that are left out where the value isn't known. */
export function optionalTimestamp(at: Date | null): TimestampInit | undefined {
  return at === null ? undefined : toTimestamp(at);
}

/** @throws TrueUpError INVALID_REQUEST for a time that no Date holds. */
export function fromTimestamp(at: Timestamp, field: string): Date {
  const date = new Date(Number(at.seconds) * 1_000 + Math.floor(at.nanos / 1_000_000));
  if (!Number.isNaN(date.getTime())) return date;
  throw new TrueUpError('INVALID_REQUEST', `${field} is no valid time`, {
    fields: [{ field, description: 'is no valid time' }],
  });
}

export function toDuration(ms: number): DurationInit {
  const whole = Math.round(ms);
  const seconds = Math.trunc(whole / 1_000);
  return { seconds: BigInt(seconds), nanos: (whole - seconds * 1_000) * 1_000_000 };
}

export function optionalDuration(ms: number | null): DurationInit | undefined {
  return ms === null ? undefined : toDuration(ms);
}

export function fromDuration(duration: Duration): number {
  return Number(duration.seconds) * 1_000 + duration.nanos / 1_000_000;
}

/** People and the contract count both ends in; the core's end is out. */
export function toRange({ from, to }: LedgerRange): { fromLedger: number; toLedger: number } {
  return { fromLedger: from, toLedger: to - 1 };
}

export function fromRange(range: Pick<LedgerRangeMessage, 'fromLedger' | 'toLedger'>): LedgerRange {
  return { from: range.fromLedger, to: range.toLedger + 1 };
}

export function toMoney(asset: string, minor: bigint): MessageInitShape<typeof MoneySchema> {
  const scale = assetScale(asset);
  const base = { asset, amountMinor: minor.toString() };
  return scale === undefined ? base : { ...base, amount: formatAmount(minor, scale), scale };
}

/** The decimal string; undefined where the asset's scale isn't known. */
export function decimalOf(asset: string, minor: bigint): string | undefined {
  const scale = assetScale(asset);
  return scale === undefined ? undefined : formatAmount(minor, scale);
}

export function toFailure(failure: Failure): MessageInitShape<typeof FailureSchema> {
  return {
    reason: toReason(failure.reason),
    message: failure.message,
    fix: failure.fix,
    retryable: failure.retryable,
    failTime: optionalTimestamp(failure.at),
  };
}

export function optionalFailure(failure: Failure | null): MessageInitShape<typeof FailureSchema> | undefined {
  return failure === null ? undefined : toFailure(failure);
}

export function toReason(reason: Reason): ErrorReason {
  return (ErrorReason as unknown as Record<string, ErrorReason>)[reason] ?? ErrorReason.UNSPECIFIED;
}

export function toProvenance(source: Provenance | null): MessageInitShape<typeof ProvenanceSchema> | undefined {
  if (source === null) return undefined;
  return { source: source.source, sourceKind: source.kind, readTime: optionalTimestamp(source.readAt) };
}

export const LEVEL_OUT: Record<Level, LevelMessage> = {
  entries: LevelMessage.ENTRIES,
  balances: LevelMessage.BALANCES,
};
export const LAYER_OUT: Record<Layer, LayerMessage> = {
  operations: LayerMessage.OPERATIONS,
  token_events: LayerMessage.TOKEN_EVENTS,
};
export const ENTRY_STATUS_OUT: Record<EntryStatus, EntryStatusMessage> = {
  success: EntryStatusMessage.SUCCESS,
  failed: EntryStatusMessage.FAILED,
};
export const JOIN_OUT: Record<Join, JoinMessage> = {
  infer: JoinMessage.UNSPECIFIED,
  operation: JoinMessage.OPERATION,
  tx_hash: JoinMessage.TX_HASH,
  sub_account: JoinMessage.SUB_ACCOUNT,
};

export const levelIn = reader(LEVEL_OUT);
export const layerIn = reader(LAYER_OUT);
export const entryStatusIn = reader(ENTRY_STATUS_OUT);

/** The way back of such a table; undefined for UNSPECIFIED, which every filter takes as "all". */
export function reader<T extends string, E extends number>(out: Readonly<Record<T, E>>): (value: E) => T | undefined {
  const back = new Map<number, T>(Object.entries<E>(out).map(([word, value]) => [value, word as T]));
  return (value) => back.get(value);
}

/** Several at once; values that mean "all" fall away. */
export function readAll<T, E>(values: readonly E[], read: (value: E) => T | undefined): T[] {
  return values.flatMap((value) => read(value) ?? []);
}

/** A decimal sequence number; null where none was sent. @throws TrueUpError INVALID_REQUEST above 64 bits. */
export function readSequence(text: string): bigint | null {
  if (text === '') return null;
  const sequence = BigInt(text);
  if (sequence < 1n << 63n) return sequence;
  throw new TrueUpError('INVALID_REQUEST', 'since_sequence is none that this server ever sent', {
    fields: [{ field: 'since_sequence', description: 'is above 64 bits' }],
  });
}

/** Drops the fields that are undefined, for plain values whose absent fields mean "all". */
export function present<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Empty strings mean "not said" in proto3. */
export function orNull(text: string): string | null {
  return text === '' ? null : text;
}

/** Empty strings in filters mean "all". */
export function orAll(text: string): string | undefined {
  return text === '' ? undefined : text;
}
