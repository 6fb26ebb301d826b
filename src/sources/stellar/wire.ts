// The XDR shapes of the network as plain objects, and the one way in which bytes become them.
//
// The SDK's schemas decode into plain objects with numeric discriminants. Its classes, one object per field, cost
// three times as much and say nothing more, so this room stays with the plain objects.
import { xdr } from '@stellar/stellar-sdk/base';

import { messageOf, TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';

export type EnvelopeWire = xdr.TransactionEnvelopeWire;
export type ResultWire = xdr.TransactionResultWire;
export type ResultPairWire = xdr.TransactionResultPairWire;
export type OperationWire = xdr.OperationWire;
export type OperationResultWire = xdr.OperationResultWire;
export type MuxedAccountWire = xdr.MuxedAccountWire;
export type MemoWire = xdr.MemoWire;
export type AssetWire = xdr.AssetWire;
export type ClaimAtomWire = xdr.ClaimAtomWire;
export type HeaderWire = xdr.LedgerHeaderWire;
export type ScValWire = xdr.ScValWire;
export type ContractEventWire = xdr.ContractEventWire;
export type LedgerCloseMetaWire = xdr.LedgerCloseMetaWire;

/** What every schema of the SDK can do, as far as this room needs it. */
export interface Schema<T> {
  decode(bytes: Uint8Array): T;
}

/**
 * @param what what the bytes should be, for the message.
 * @param range the ledgers that are lost when they are something else.
 * @throws TrueUpError SOURCE_CORRUPT
 */
export function decodeXdr<T>(schema: Schema<T>, bytes: Uint8Array, what: string, range: LedgerRange): T {
  try {
    return schema.decode(bytes);
  } catch (error) {
    throw corrupt(range, `${what} is not valid XDR: ${messageOf(error)}`, error);
  }
}

/** A transaction's envelope from the base64 that Horizon (`envelope_xdr`) and RPC (`envelopeXdr`) carry. */
export function decodeEnvelope(base64: string, ledger: number): EnvelopeWire {
  return decodeXdr(xdr.TransactionEnvelope.schema, fromBase64(base64), 'a transaction envelope', oneLedger(ledger));
}

/** A transaction's result from the base64 that Horizon (`result_xdr`) and RPC (`resultXdr`) carry. */
export function decodeResult(base64: string, ledger: number): ResultWire {
  return decodeXdr(xdr.TransactionResult.schema, fromBase64(base64), 'a transaction result', oneLedger(ledger));
}

/** One value of a contract event (a topic or the data) from base64. */
export function decodeScVal(base64: string, ledger: number): ScValWire {
  return decodeXdr(xdr.ScVal.schema, fromBase64(base64), 'a contract value', oneLedger(ledger));
}

/** A ledger's whole metadata from the base64 that RPC's getLedgers carries (`metadataXdr`). */
export function decodeLedgerCloseMeta(base64: string, ledger: number): LedgerCloseMetaWire {
  return decodeXdr(xdr.LedgerCloseMeta.schema, fromBase64(base64), 'a ledger close meta', oneLedger(ledger));
}

export function oneLedger(sequence: number): LedgerRange {
  return { from: sequence, to: sequence + 1 };
}

/** Bytes that are there but wrong. The range is the smallest that is known to be bad. */
export function corrupt(range: LedgerRange, why: string, cause?: unknown): TrueUpError {
  const last = range.to - 1;
  const where = last === range.from ? `ledger ${range.from}` : `ledgers ${range.from} to ${last}`;
  return new TrueUpError('SOURCE_CORRUPT', `${where}: ${why}`, {
    range,
    fix: 'Read this range again from another source of the same network, or repair the file.',
    ...(cause === undefined ? {} : { cause }),
  });
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

function fromBase64(text: string): Uint8Array {
  return Buffer.from(text, 'base64');
}
