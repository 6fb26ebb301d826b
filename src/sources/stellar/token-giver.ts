// Whose sub-account the giving leg of a token event carries: the envelope knows what the event doesn't say.
import { partyOf, type Envelope, type Party, type SubAccount } from './envelope.ts';
import { accountId } from './strkeys.ts';

/** The two holders of an event; null where it is a mint, burn or clawback. */
export interface Ends {
  readonly from: string | null;
  readonly to: string | null;
}

export interface Giver {
  readonly subAccount: SubAccount | null;
}

/**
 * The giver's muxed id, else the memo, for operations that pay; null for trades, pools and contract calls, whose
 * movements the sender's memo doesn't describe. The rule reads one event at a time, so that it says the same for an
 * event that came alone: of a path payment's events only the one from its sender to its destination is the payment.
 */
export function giverOf(envelope: Envelope, opIndex: number, event: Ends): Giver | null {
  const operation = envelope.operations[opIndex - 1];
  if (operation === undefined) return null;
  const source = operation.sourceAccount === null ? envelope.source : partyOf(operation.sourceAccount);
  const { body } = operation;
  switch (body.type) {
    case 0:
      return payment(source, accountId(body.createAccountOp.destination.ed25519), event, envelope.memo);
    case 1:
      return payment(source, partyOf(body.paymentOp.destination).account, event, envelope.memo);
    case 2:
      return payment(source, partyOf(body.pathPaymentStrictReceiveOp.destination).account, event, envelope.memo);
    case 13:
      return payment(source, partyOf(body.pathPaymentStrictSendOp.destination).account, event, envelope.memo);
    case 8:
      return payment(source, partyOf(body.destination).account, event, envelope.memo);
    case 14:
      return payment(source, event.to, event, envelope.memo);
    case 19:
      return payment(partyOf(body.clawbackOp.from), null, event, envelope.memo);
    default:
      return null;
  }
}

function payment(giver: Party, taker: string | null, event: Ends, memo: SubAccount | null): Giver | null {
  if (event.from !== giver.account || (event.to !== null && event.to !== taker)) return null;
  return { subAccount: giver.muxed ?? memo };
}
