// The token events of one applied transaction: taken from its metadata where the network wrote them, else derived.
import type { xdr } from '@stellar/stellar-sdk/base';

import type { Entry } from '../../core/entry.ts';
import type { AssetContracts } from './assets.ts';
import { readEnvelope, type Envelope } from './envelope.ts';
import { changesOf, nativeDelta, type ChangeWire } from './meta-changes.ts';
import { isSuccessful, operationResults, type AppliedTransaction } from './operations.ts';
import { deriveEvents, feeEvent } from './token-derive.ts';
import { rawEvent, readTokenEvent, tokenEventLegs, type EventFormat, type TokenEvent } from './token-events.ts';
import type { ContractEventWire } from './wire.ts';

/** What the metadata says of one transaction. */
export interface TransactionMeta {
  /** Taking the fee, before anything was applied. */
  readonly feeChanges: readonly ChangeWire[];
  readonly apply: xdr.TransactionMetaWire;
  /** Fee refunds after all transactions, since protocol 23. */
  readonly afterAllChanges: readonly ChangeWire[];
}

export interface PositionedEvent {
  /** 1-based; 0 for fees. */
  readonly opIndex: number;
  readonly eventIndex: number;
  readonly event: TokenEvent;
}

/** Legs in canonical order. */
export function transactionTokenEntries(
  tx: AppliedTransaction,
  meta: TransactionMeta,
  ledger: { readonly sequence: number; readonly protocol: number },
  contracts: AssetContracts,
  keep: (id: string) => boolean,
): Entry[] {
  const envelope = readEnvelope(tx.envelope);
  const at = { ledger: ledger.sequence, txHash: tx.hash, txIndex: tx.txIndex };
  return transactionTokenEvents(tx, envelope, meta, ledger.protocol, contracts).flatMap(
    ({ opIndex, eventIndex, event }) => tokenEventLegs(event, { ...at, opIndex, eventIndex }, keep, envelope),
  );
}

/** Fee, refund, then each operation's events. A transaction that failed has its fees only. */
export function transactionTokenEvents(
  tx: AppliedTransaction,
  envelope: Envelope,
  meta: TransactionMeta,
  protocol: number,
  contracts: AssetContracts,
): PositionedEvent[] {
  const { apply } = meta;
  if (apply.v === 4 && apply.v4.events.length > 0) return unifiedEvents(apply.v4, contracts);

  const fees = deriveFees(tx, envelope, meta, contracts).map((event, eventIndex) => ({
    opIndex: 0,
    eventIndex,
    event,
  }));
  if (!isSuccessful(tx.result)) return fees;
  const results = operationResults(tx.result);
  const derived = envelope.operations.flatMap(({ body }, index) => {
    const result = results[index];
    if (result === undefined || result.code !== 0) return [];
    if (body.type === INVOKE_HOST_FUNCTION) {
      return contractEvents(
        apply.v === 4 ? apply.v4.operations[index]?.events : sorobanEvents(apply),
        index + 1,
        formatOf(apply),
        contracts,
      );
    }
    const operation = { envelope, index, tr: result.tr, changes: operationChanges(apply, index) };
    return deriveEvents(operation, protocol, contracts).map((event, eventIndex) => ({
      opIndex: index + 1,
      eventIndex,
      event,
    }));
  });
  return [...fees, ...derived];
}

const INVOKE_HOST_FUNCTION = 24;

type MetaV4 = Extract<xdr.TransactionMetaWire, { v: 4 }>['v4'];

/** The network emits these only where its operator asked for them; then every transaction has at least its fee's. */
function unifiedEvents(meta: MetaV4, contracts: AssetContracts): PositionedEvent[] {
  const fees = contractEvents(
    meta.events.map(({ event }) => event),
    0,
    'unified',
    contracts,
  );
  const operations = meta.operations.flatMap(({ events }, index) =>
    contractEvents(events, index + 1, 'unified', contracts),
  );
  return [
    ...fees.filter(({ event }) => event.kind === 'fee'),
    ...operations.filter(({ event }) => event.kind !== 'fee'),
  ];
}

function contractEvents(
  events: readonly ContractEventWire[] | undefined,
  opIndex: number,
  format: EventFormat,
  contracts: AssetContracts,
): PositionedEvent[] {
  return (events ?? []).flatMap((wire, eventIndex) => {
    const raw = rawEvent(wire);
    const event = raw === undefined ? undefined : readTokenEvent(raw, contracts, format);
    return event === undefined ? [] : [{ opIndex, eventIndex, event }];
  });
}

/**
 * A classic transaction paid what its result says. A contract call paid in advance what its fee account lost at first,
 * and got back what that account gained after it was applied.
 */
function deriveFees(
  tx: AppliedTransaction,
  envelope: Envelope,
  meta: TransactionMeta,
  contracts: AssetContracts,
): TokenEvent[] {
  const payer = envelope.feeSource.account;
  if (!envelope.isContractCall) return [feeEvent(payer, tx.result.feeCharged, contracts)];
  const fees = [feeEvent(payer, -nativeDelta(changesOf(meta.feeChanges), payer), contracts)];
  const refund = nativeDelta(changesOf([...changesAfter(meta.apply), ...meta.afterAllChanges]), payer);
  if (refund > 0n) fees.push(feeEvent(payer, -refund, contracts));
  return fees;
}

function operationChanges(meta: xdr.TransactionMetaWire, index: number): readonly ChangeWire[] {
  switch (meta.v) {
    case 0:
      return meta.operations[index]?.changes ?? [];
    case 1:
      return meta.v1.operations[index]?.changes ?? [];
    case 2:
      return meta.v2.operations[index]?.changes ?? [];
    case 3:
      return meta.v3.operations[index]?.changes ?? [];
    case 4:
      return meta.v4.operations[index]?.changes ?? [];
  }
}

function changesAfter(meta: xdr.TransactionMetaWire): readonly ChangeWire[] {
  if (meta.v === 3) return meta.v3.txChangesAfter;
  return meta.v === 4 ? meta.v4.txChangesAfter : [];
}

function sorobanEvents(meta: xdr.TransactionMetaWire): readonly ContractEventWire[] {
  return meta.v === 3 ? (meta.v3.sorobanMeta?.events ?? []) : [];
}

function formatOf(meta: xdr.TransactionMetaWire): EventFormat {
  return meta.v === 4 ? 'unified' : 'legacy';
}
