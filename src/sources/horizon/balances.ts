// Balances as Horizon states them.
import { ACCOUNT_PATTERN, NATIVE } from '../../core/asset.ts';
import { TrueUpError } from '../../core/errors.ts';
import { STELLAR_CLASSIC_SCALE, parseAmount } from '../../core/money.ts';
import { mapLimited } from '../concurrency.ts';
import type { OpeningBalance } from '../source.ts';
import { corrupt } from '../stellar/wire.ts';
import type { CallContext, HorizonApi } from './api.ts';

/**
 * Native and issued balances at the ledger that the answer names in its Latest-Ledger header: Horizon reads an account
 * in one snapshot of that ledger. Where something in between drops the header, the ledger is that of the account's last
 * change, since when the balances are the same. An account that doesn't exist has 0 native. Pool shares and contract
 * tokens are not shown.
 */
export async function readHorizonBalances(
  api: HorizonApi,
  accounts: readonly string[],
  maxConcurrentRequests: number,
  call: CallContext,
): Promise<OpeningBalance[]> {
  const stranger = accounts.find((id) => !ACCOUNT_PATTERN.test(id));
  if (stranger !== undefined) {
    throw new TrueUpError(
      'INVALID_REQUEST',
      `${stranger} is no account (G...): Horizon shows balances of accounts only`,
    );
  }
  const answers = await mapLimited(accounts, maxConcurrentRequests, call.signal, async (id, signal) => {
    const own: CallContext = { ...call, signal };
    return balancesOf(id, await api.account(id, own), api.host, own);
  });
  return answers.flat();
}

type AccountAnswer = Awaited<ReturnType<HorizonApi['account']>>;

function balancesOf(
  id: string,
  { account, latestLedger }: AccountAnswer,
  host: string,
  call: CallContext,
): OpeningBalance[] {
  if (account === undefined) {
    if (latestLedger === undefined) {
      throw corrupt(call.range, `${host} says that ${id} does not exist, but not at which ledger`);
    }
    return [{ account: id, asset: NATIVE, amount: 0n, ledger: latestLedger }];
  }
  const lastChange = Math.max(
    account.last_modified_ledger,
    ...account.balances.map((line) => line.last_modified_ledger ?? 0),
  );
  const ledger = latestLedger ?? lastChange;
  return account.balances
    .filter((line) => line.asset_type === 'native' || line.asset_type.startsWith('credit_'))
    .map((line) => ({
      account: id,
      asset: line.asset_type === 'native' ? NATIVE : `${line.asset_code}:${line.asset_issuer}`,
      amount: parseAmount(line.balance, STELLAR_CLASSIC_SCALE),
      ledger,
    }));
}
