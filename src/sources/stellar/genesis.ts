// Ledger 1: every lumen that will exist stands on the root account, and no transaction put it there.
import { Keypair } from '@stellar/stellar-sdk/base';

import { NATIVE } from '../../core/asset.ts';
import type { Entry } from '../../core/entry.ts';

export const GENESIS_LEDGER = 1;

/** The opening leg of a network: `totalCoins` on the account whose key is the network id. */
export function genesisEntry(networkPassphrase: string, totalCoins: bigint): Entry {
  return {
    ledger: GENESIS_LEDGER,
    txIndex: 0,
    opIndex: 0,
    leg: 0,
    layer: 'operations',
    txHash: null,
    account: Keypair.master(networkPassphrase).publicKey(),
    asset: NATIVE,
    amount: totalCoins,
    kind: 'genesis',
    counterparty: null,
    status: 'success',
    resultCode: null,
    subAccount: null,
    subAccountType: null,
  };
}
