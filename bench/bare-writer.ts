// What the machine does at most: the bare driver writing a batch's rows and a checkpoint in one transaction, into the same tables.
import pg from 'pg';
import type { LedgerBatch } from '../src/core/ledger.ts';

const COLUMNS = [
  ['layer', 'smallint'],
  ['ledger', 'int'],
  ['tx_index', 'int'],
  ['op_index', 'int'],
  ['leg', 'int'],
  ['tx_hash', 'bytea'],
  ['account', 'text'],
  ['asset', 'text'],
  ['amount', 'numeric'],
  ['kind', 'text'],
  ['counterparty', 'text'],
  ['failed', 'boolean'],
  ['result_code', 'text'],
  ['sub_account', 'text'],
  ['sub_account_type', 'text'],
  ['closed_at', 'timestamptz'],
] as const;

const INSERT = `
  insert into trueup.entries (stream_id, source_id, ${COLUMNS.map(([name]) => name).join(', ')})
  select 1, 1, * from unnest(${COLUMNS.map(([, type], i) => `$${i + 1}::${type}[]`).join(', ')})`;

/** One array a column, as the driver takes them. */
export type Columns = readonly (readonly unknown[])[];

export interface BareWriter extends AsyncDisposable {
  /** @param checkpoint the last ledger of these rows */
  write(columns: Columns, checkpoint?: number): Promise<void>;
}

export async function openBareWriter(url: string): Promise<BareWriter> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`insert into trueup.leases (name, holder, token, expires_at) values ('bare', 'bench', 0, now())`);
  return {
    async write(columns, checkpoint) {
      await client.query('begin');
      await client.query(INSERT, [...columns]);
      if (checkpoint !== undefined)
        await client.query(`update trueup.leases set token = $1 where name = 'bare'`, [checkpoint]);
      await client.query('commit');
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** A batch's rows, made before anything is measured. */
export function columnsOf(batch: LedgerBatch): unknown[][] {
  const columns: unknown[][] = COLUMNS.map(() => []);
  for (const { closeTime, entries } of batch.records) {
    const closedAt = new Date(closeTime * 1_000).toISOString();
    for (const entry of entries) {
      const row = [
        0,
        entry.ledger,
        entry.txIndex,
        entry.opIndex,
        entry.leg,
        entry.txHash === null ? null : `\\x${entry.txHash}`,
        entry.account,
        entry.asset,
        entry.amount.toString(),
        entry.kind,
        entry.counterparty,
        entry.status === 'failed',
        entry.resultCode,
        entry.subAccount,
        entry.subAccountType,
        closedAt,
      ];
      row.forEach((value, column) => columns[column]!.push(value));
    }
  }
  return columns;
}

export function rowCount(batch: Pick<LedgerBatch, 'records'>): number {
  return batch.records.reduce((sum, record) => sum + record.entries.length, 0);
}
