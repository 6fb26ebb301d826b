// Collecting the legs of one transaction, in canonical order.
import type { Entry, EntryKind, EntryStatus } from '../../core/entry.ts';
import type { Party, SubAccount } from './envelope.ts';

/** One end of a movement: what was given, or what was got. */
export interface Side {
  readonly asset: string;
  readonly amount: bigint;
}

/** Collects a transaction's legs; leg numbers run on over legs that the watch leaves out. */
export class Legs {
  readonly entries: Entry[] = [];
  readonly #hash: string;
  readonly #txIndex: number;
  readonly #ledger: number;
  readonly #keep: (id: string) => boolean;
  #opIndex = 0;
  #leg = 0;
  #status: EntryStatus = 'success';
  #resultCode: string | null = null;

  constructor(tx: { readonly hash: string; readonly txIndex: number }, ledger: number, keep: (id: string) => boolean) {
    this.#hash = tx.hash;
    this.#txIndex = tx.txIndex;
    this.#ledger = ledger;
    this.#keep = keep;
  }

  begin(opIndex: number, status: EntryStatus, resultCode: string | null): void {
    this.#opIndex = opIndex;
    this.#leg = 0;
    this.#status = status;
    this.#resultCode = resultCode;
  }

  add(
    account: string,
    asset: string,
    amount: bigint,
    kind: EntryKind,
    counterparty: string | null,
    sub: SubAccount | null,
  ): void {
    const leg = this.#leg++;
    if (!this.#keep(account)) return;
    this.entries.push({
      ledger: this.#ledger,
      txIndex: this.#txIndex,
      opIndex: this.#opIndex,
      leg,
      layer: 'operations',
      txHash: this.#hash,
      account,
      asset,
      amount,
      kind,
      counterparty,
      status: this.#status,
      resultCode: this.#resultCode,
      subAccount: sub === null ? null : sub.id,
      subAccountType: sub === null ? null : sub.type,
    });
  }

  /** Both ends of a movement; a muxed id belongs to its own end, the memo to both. */
  pair(from: Party, to: Party, sold: Side, bought: Side, kind: EntryKind, memo: SubAccount | null): void {
    this.add(from.account, sold.asset, -sold.amount, kind, to.account, from.muxed ?? memo);
    this.add(to.account, bought.asset, bought.amount, kind, from.account, to.muxed ?? memo);
  }
}
