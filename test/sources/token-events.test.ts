// Goal: token events equal those of Stellar's own token transfer processor, taken from metadata and derived from it alike.
// Method: eight public network ledgers from 2016 to 2025 with the events that processor emitted, one exported ledger, and two
// ledgers whose unified events were read through RPC; every field that the recordings have is compared.
import { describe, expect, it } from 'vitest';
import { xdr } from '@stellar/stellar-sdk/base';
import type { Entry } from '../../src/core/entry.ts';
import { assetContracts } from '../../src/sources/stellar/assets.ts';
import { readEnvelope } from '../../src/sources/stellar/envelope.ts';
import { ledgerCloseMetaReader } from '../../src/sources/stellar/ledger-close-meta.ts';
import { eventEntry, type TokenEvent } from '../../src/sources/stellar/token-events.ts';
import { transactionTokenEvents } from '../../src/sources/stellar/token-transaction.ts';
import { decodeEnvelope, decodeResult, decodeScVal } from '../../src/sources/stellar/wire.ts';
import { hasSharedData } from '../_util/shared-data.ts';
import { readRows, readText, type Row } from '../_util/stellar-expected.ts';
import { PUBNET, pubnetLedger } from '../_util/stellar-lcm.ts';

const contracts = assetContracts(PUBNET);
const all = (): boolean => true;

/** The legs of an event, each a line, in the words of both sides. */
function legs(
  at: string,
  kind: string,
  from: string | undefined,
  to: string | undefined,
  asset: string,
  amount: bigint,
): string[] {
  if (kind === 'fee') return [`${at} ${amount < 0n ? 'fee_refund' : 'fee'} ${from} ${asset} ${-amount}`];
  const lines: string[] = [];
  if (from) lines.push(`${at} ${kind} ${from} ${asset} ${-amount}`);
  if (to) lines.push(`${at} ${kind} ${to} ${asset} ${amount}`);
  return lines;
}

interface Golden {
  readonly meta: {
    txHash: string;
    ledgerSequence: number;
    closedAt: string;
    transactionIndex?: number;
    operationIndex?: number;
    contractAddress?: string;
  };
  readonly [key: string]: unknown;
}

/** Blocks of JSON under a title; older recordings nest addresses and write decimals, and count operations from 0. */
function golden(path: string): Golden[] {
  return readText(path)
    .split('### Event Type')
    .slice(1)
    .map((block) => JSON.parse(block.slice(block.indexOf('{'), block.lastIndexOf('\n}') + 2)) as Golden);
}

function goldenLegs(event: Golden): string[] {
  const kind = ['fee', 'transfer', 'mint', 'burn', 'clawback'].find((name) => event[name] !== undefined)!;
  const body = event[kind] as Row;
  const asset = (body['asset'] ?? event['asset']) as Row;
  const issued = asset['issuedAsset'] as { assetCode: string; issuer: string } | undefined;
  const isOld = event.meta.contractAddress === undefined;
  const amount = BigInt(String(body['amount']).replace('.', ''));
  const operation = event.meta.operationIndex;
  const opIndex = operation === undefined ? 0 : isOld ? operation + 1 : operation;
  const place = [event.meta.ledgerSequence, event.meta.txHash, opIndex].join(' ');
  return legs(
    place,
    kind,
    address(body['from']),
    address(body['to']),
    issued ? `${issued.assetCode}:${issued.issuer}` : 'native',
    amount,
  );
}

function address(value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value;
  return (value as { account: { strKey: string } }).account.strKey;
}

function entryLine({ ledger, txHash, opIndex, kind, account, asset, amount }: Entry): string {
  return `${ledger} ${txHash} ${opIndex} ${kind} ${account} ${asset} ${amount}`;
}

const TTP = 'stellar-ttp-golden/raw';
const RECORDED = [
  ['mint-ledger-7320888', 'mint-ledger-7320888-events', 2],
  ['burn-ledger-7762802', 'burn-ledger-7762802-events', 2],
  ['xlm-mint-bug-ledger-9652679', 'xlm-mint-bug-ledger-9652679-events', 9],
  ['xlm-mint-bug-ledger-9652698', 'xlm-mint-bug-ledger-9652698-events', 7],
  ['ledger-6154623.base64.txt.gz', 'ledger-6154623-ttp-events.txt.gz', 0],
  ['ledger-16154623.base64.txt.gz', 'ledger-16154623-ttp-events.txt.gz', 2],
  ['ledger-26154623.base64.txt.gz', 'ledger-26154623-ttp-events.txt.gz', 27],
  ['ledger-36154623.base64.txt.gz', 'ledger-36154623-ttp-events.txt.gz', 196],
] as const;

describe.skipIf(!hasSharedData)('old metadata, events derived', () => {
  it.each(RECORDED)('%s has the events of the processor', (file, events, count) => {
    const meta = xdr.LedgerCloseMeta.schema.decode(Buffer.from(readText(`${TTP}/${file}`).trim(), 'base64'));
    const record = ledgerCloseMetaReader(PUBNET).read(meta, ['token_events'], all);
    const expected = golden(`${TTP}/${events}`);
    expect(expected).toHaveLength(count);
    // The processor lists all fees first, and of a trade what the seller gave first; the network itself writes what the
    // seller got first, and so do we (proven below), so the legs are compared without their order.
    expect(record.entries.map(entryLine).sort()).toEqual(expected.flatMap(goldenLegs).sort());
    const indexes = new Map(record.entries.map(({ txHash, txIndex }) => [txHash, txIndex]));
    for (const { meta: at } of expected) {
      if (at.transactionIndex !== undefined) expect(indexes.get(at.txHash)).toBe(at.transactionIndex);
      expect(Date.parse(at.closedAt)).toBe(record.closeTime * 1000);
    }
  });

  it('names the contract of each asset as the processor does', () => {
    for (const [, events] of RECORDED) {
      for (const event of golden(`${TTP}/${events}`)) {
        const { contractAddress } = event.meta;
        if (contractAddress === undefined) continue;
        const kind = ['fee', 'transfer', 'mint', 'burn'].find((name) => event[name] !== undefined)!;
        const issued = ((event[kind] as Row)['asset'] as Row)['issuedAsset'] as
          { assetCode: string; issuer: string } | undefined;
        const text = issued ? `${issued.assetCode}:${issued.issuer}` : 'native';
        expect(contracts.assetOf(contractAddress, text)).toBe(text);
      }
    }
  });

  it('equals an exported ledger row by row, muxed destination included', () => {
    const folder = 'stellar-etl-golden';
    const transactions = readRows(`${folder}/transactions/one_ledger_txs.golden.gz`);
    const found = transactions.flatMap((row) => {
      const envelope = decodeEnvelope(String(row['tx_envelope']), 30_820_015);
      const result = decodeResult(String(row['tx_result']), 30_820_015);
      const apply = xdr.TransactionMeta.schema.decode(Buffer.from(String(row['tx_meta']), 'base64'));
      const tx = { hash: String(row['transaction_hash']), txIndex: 1, envelope, result };
      const meta = { feeChanges: [], apply, afterAllChanges: [] };
      return transactionTokenEvents(tx, readEnvelope(envelope), meta, 13, contracts).map(({ opIndex, event }) =>
        eventRow(tx.hash, opIndex, event),
      );
    });
    const expected = readRows(`${folder}/token_transfers/one_ledger_token_transfers.golden.gz`).map((row) =>
      [
        row['transaction_hash'],
        row['operation_id'] === null ? 0 : BigInt(String(row['operation_id'])) & 0xfffn,
        row['event_topic'],
        row['contract_id'],
        row['asset'] === 'native' ? 'native' : `${String(row['asset_code'])}:${String(row['asset_issuer'])}`,
        row['from'],
        row['to'],
        row['amount_raw'],
        row['to_muxed_id'],
      ].join(' '),
    );
    expect(found.sort()).toEqual(expected.sort());
    expect(expected).toHaveLength(60);
  });
});

function eventRow(hash: string, opIndex: number, event: TokenEvent): string {
  const { kind, contract, asset, from, to, amount, toMuxed } = event;
  return [hash, opIndex, kind, contract, asset, from, to, amount, toMuxed?.type === 'muxed' ? toMuxed.id : null].join(
    ' ',
  );
}

describe.skipIf(!hasSharedData).each([57_500_008, 63_092_988])('unified events of ledger %i', (sequence) => {
  const rows = hasSharedData ? readRows(`stellar-pubnet-lcm/expected/${sequence}-events.jsonl.gz`) : [];
  const record = hasSharedData
    ? ledgerCloseMetaReader(PUBNET).read(pubnetLedger(sequence), ['token_events'], all)
    : undefined;
  const entries = record?.entries ?? [];

  it('are the same legs, at the same positions, when each event comes alone as RPC sends it', () => {
    const byPosition = new Map(entries.map((entry) => [position(entry), entry]));
    const indexes = new Map(entries.map(({ txHash, txIndex }) => [txHash, txIndex]));
    const seen = rows.flatMap((row) => {
      const isOperation = row['stage'] === 'op';
      const event = {
        contract: String(row['contractId']),
        topics: (row['topic'] as string[]).map((topic) => decodeScVal(topic, sequence)),
        value: decodeScVal(String(row['value']), sequence),
      };
      const at = {
        ledger: sequence,
        txHash: String(row['txHash']),
        txIndex: indexes.get(String(row['txHash']))!,
        opIndex: isOperation ? Number(row['operationIndex']) + 1 : 0,
        eventIndex: Number(String(row['id']).split('-')[1]),
      };
      if (isOperation) expect(at.txIndex).toBe(row['transactionIndex']);
      return eventEntry(event, at, contracts, all);
    });
    expect(seen).toHaveLength(entries.length);
    for (const entry of seen) {
      const whole = byPosition.get(position(entry))!;
      // Without the envelope only the giver's sub-account and the memo's type are unknown.
      expect({ ...entry, subAccount: null, subAccountType: null }).toEqual({
        ...whole,
        subAccount: null,
        subAccountType: null,
      });
      if (entry.subAccount !== null) expect(entry.subAccount).toBe(whole.subAccount);
    }
  });

  it('charge and give back what the results say was paid', () => {
    const operations = ledgerCloseMetaReader(PUBNET).read(pubnetLedger(sequence), ['operations'], all).entries;
    const paid = (list: readonly Entry[]): string[] => {
      const byTransaction = new Map<string, bigint>();
      for (const { txHash, account, kind, amount } of list) {
        if (kind !== 'fee' && kind !== 'fee_refund') continue;
        const key = `${txHash} ${account}`;
        byTransaction.set(key, (byTransaction.get(key) ?? 0n) + amount);
      }
      return [...byTransaction].map(([key, amount]) => `${key} ${amount}`);
    };
    expect(paid(entries)).toEqual(paid(operations));
  });

  it('say the same as what is derived where the network wrote none, for every classic operation', () => {
    const meta = pubnetLedger(sequence);
    const without = withoutEvents(meta);
    const derived = ledgerCloseMetaReader(PUBNET).read(without, ['token_events'], all).entries;
    const classic = new Set(
      derived.filter(({ opIndex }) => opIndex > 0).map(({ txHash, opIndex }) => `${txHash} ${opIndex}`),
    );
    const line = (entry: Entry): string =>
      `${entryLine(entry)} leg ${entry.leg} with ${entry.counterparty} for ${entry.subAccountType} ${entry.subAccount}`;
    const found = entries
      .filter(({ txHash, opIndex }) => opIndex === 0 || classic.has(`${txHash} ${opIndex}`))
      .map(line);
    expect(derived.map(line)).toEqual(found);
    expect(derived.length).toBeGreaterThan(500);
  });
});

function position({ txHash, opIndex, leg }: Entry): string {
  return `${txHash} ${opIndex} ${leg}`;
}

/** The same ledger from a node that doesn't emit classic events; contract calls lose theirs too, so only they differ. */
function withoutEvents(meta: ReturnType<typeof pubnetLedger>): ReturnType<typeof pubnetLedger> {
  const arm = meta.v === 1 ? meta.v1 : meta.v === 2 ? meta.v2 : undefined;
  for (const { txApplyProcessing } of arm?.txProcessing ?? []) {
    if (txApplyProcessing.v !== 4) continue;
    txApplyProcessing.v4.events = [];
    for (const operation of txApplyProcessing.v4.operations) operation.events = [];
  }
  return meta;
}
