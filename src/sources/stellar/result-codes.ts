// Result codes as Horizon spells them, so that a failed entry says the same whichever source it came from.
import type { OperationResultWire, ResultWire } from './wire.ts';

/** The word of a transaction's result; for a fee bump whose inner transaction failed, the inner one's. */
export function transactionResultCode(result: ResultWire): string {
  const outer = result.result;
  const code = outer.code === INNER_FAILED ? outer.innerResultPair.result.result.code : outer.code;
  return TRANSACTION_CODES[code] ?? `tx_unknown_${code}`;
}

/** The word of one operation's result. */
export function operationResultCode(result: OperationResultWire): string {
  if (result.code !== 0) return OUTER_CODES[result.code] ?? `op_unknown_${result.code}`;
  const code = innerCode(result.tr);
  if (code === 0) return OP_SUCCESS;
  return OPERATION_CODES[result.tr.type]?.[-code - 1] ?? `op_unknown_${code}`;
}

export const OP_SUCCESS = 'op_success';

const INNER_FAILED = -13;

const TRANSACTION_CODES: Readonly<Record<number, string>> = {
  1: 'tx_fee_bump_inner_success',
  0: 'tx_success',
  [-1]: 'tx_failed',
  [-2]: 'tx_too_early',
  [-3]: 'tx_too_late',
  [-4]: 'tx_missing_operation',
  [-5]: 'tx_bad_seq',
  [-6]: 'tx_bad_auth',
  [-7]: 'tx_insufficient_balance',
  [-8]: 'tx_no_source_account',
  [-9]: 'tx_insufficient_fee',
  [-10]: 'tx_bad_auth_extra',
  [-11]: 'tx_internal_error',
  [-12]: 'tx_not_supported',
  [-13]: 'tx_fee_bump_inner_failed',
  [-14]: 'tx_bad_sponsorship',
  [-15]: 'tx_bad_minseq_age_or_gap',
  [-16]: 'tx_malformed',
  [-17]: 'tx_soroban_invalid',
  [-18]: 'tx_frozen_key_accessed',
};

const OUTER_CODES: Readonly<Record<number, string>> = {
  [-1]: 'op_bad_auth',
  [-2]: 'op_no_source_account',
  [-3]: 'op_not_supported',
  [-4]: 'op_too_many_subentries',
  [-5]: 'op_exceeded_work_limit',
  [-6]: 'op_too_many_sponsoring',
};

const PAYMENT_CODES = [
  'op_malformed',
  'op_underfunded',
  'op_src_no_trust',
  'op_src_not_authorized',
  'op_no_destination',
  'op_no_trust',
  'op_not_authorized',
  'op_line_full',
  'op_no_issuer',
];
const PATH_CODES = [...PAYMENT_CODES, 'op_too_few_offers', 'op_cross_self'];

/** By operation type; the word at position n is that of code -(n + 1). Only types that move money into entries. */
const OPERATION_CODES: Readonly<Record<number, readonly string[]>> = {
  0: ['op_malformed', 'op_underfunded', 'op_low_reserve', 'op_already_exists'],
  1: PAYMENT_CODES,
  2: [...PATH_CODES, 'op_over_source_max'],
  8: [
    'op_malformed',
    'op_no_account',
    'op_immutable_set',
    'op_has_sub_entries',
    'op_seq_num_too_far',
    'op_dest_full',
    'op_is_sponsor',
  ],
  13: [...PATH_CODES, 'op_under_dest_min'],
  14: ['op_malformed', 'op_low_reserve', 'op_no_trust', 'op_not_authorized', 'op_underfunded'],
  19: ['op_malformed', 'op_not_clawback_enabled', 'op_no_trust', 'op_underfunded'],
};

type ResultTr = Extract<OperationResultWire, { code: 0 }>['tr'];

/** Every arm of the union is an object with a `code`; only the types in OPERATION_CODES are asked for. */
function innerCode(tr: ResultTr): number {
  switch (tr.type) {
    case 0:
      return tr.createAccountResult.code;
    case 1:
      return tr.paymentResult.code;
    case 2:
      return tr.pathPaymentStrictReceiveResult.code;
    case 8:
      return tr.accountMergeResult.code;
    case 13:
      return tr.pathPaymentStrictSendResult.code;
    case 14:
      return tr.createClaimableBalanceResult.code;
    case 19:
      return tr.clawbackResult.code;
    default: {
      const arm = Object.values(tr).find((value): value is { code: number } => typeof value === 'object');
      return arm?.code ?? 0;
    }
  }
}
