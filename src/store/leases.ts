// Who may do a thing that only one may do, for a while: by the database's clock, with a token that only ever rises.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { sql, sqlCount } from './database.ts';

/**
 * Takes the lease when it is free or has run out. One statement, so of any number of replicas at most one gets it.
 *
 * @returns a token larger than every one before it, or null while somebody else (or the same holder) has the lease
 */
export async function claimLease(
  em: EntityManager,
  name: string,
  holder: string,
  ttlMs: number,
): Promise<bigint | null> {
  const rows = await sql<{ token: string }>(
    em,
    `insert into trueup.leases as held (name, holder, token, expires_at)
     values ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
     on conflict (name) do update
       set holder = excluded.holder, token = held.token + 1, expires_at = excluded.expires_at
       where held.expires_at <= clock_timestamp()
     returning token`,
    [name, holder, ttlMs],
  );
  return rows[0] === undefined ? null : BigInt(rows[0].token);
}

/**
 * Keeps the lease for another `ttlMs` from now. A lease that ran out but that nobody has taken is still one's own.
 *
 * @returns false when somebody else has taken it
 */
export async function renewLease(em: EntityManager, name: string, token: bigint, ttlMs: number): Promise<boolean> {
  return (await extend(em, name, token, ttlMs)) === 1;
}

/**
 * To be called inside the transaction that writes under the lease, before it commits: it holds the lease's row until
 * then, so nobody can take the lease between this check and the commit. Error: LEASE_LOST.
 */
export async function assertLease(em: EntityManager, name: string, token: bigint, ttlMs: number): Promise<void> {
  if ((await extend(em, name, token, ttlMs)) === 1) return;
  throw new TrueUpError(
    'LEASE_LOST',
    `the lease ${name} was taken over by another process; this one's work is dropped and the other goes on`,
    { metadata: { lease: name } },
  );
}

/** Gives the lease free for the next one; nothing happens when it isn't one's own any more. The row stays, for its token. */
export async function releaseLease(em: EntityManager, name: string, token: bigint): Promise<void> {
  await sqlCount(em, `update trueup.leases set expires_at = '-infinity' where name = $1 and token = $2`, [name, token]);
}

/** Takes the lease from whoever has it, for anybody to claim at once: what its holder hasn't committed by now is rolled back. */
export async function revokeLease(em: EntityManager, name: string): Promise<void> {
  await sqlCount(em, `update trueup.leases set token = token + 1, expires_at = '-infinity' where name = $1`, [name]);
}

function extend(em: EntityManager, name: string, token: bigint, ttlMs: number): Promise<number> {
  return sqlCount(
    em,
    `update trueup.leases set expires_at = clock_timestamp() + $3 * interval '1 millisecond' where name = $1 and token = $2`,
    [name, token, ttlMs],
  );
}
