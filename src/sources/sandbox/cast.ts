// Who lives on the sandbox network: valid addresses derived from the seed, and what each of them holds.
import { hash } from 'node:crypto';
import { Keypair, StrKey } from '@stellar/stellar-sdk/base';
import { NATIVE } from '../../core/asset.ts';
import { randomFrom } from './random.ts';

const VAULT_COUNT = 5;
const CUSTOMER_COUNT = 16;
const VISITOR_COUNT = 8;
const LUMEN = 10_000_000;
const CAST_CACHE_SIZE = 8;

/** All of the network's lumens, opened on the treasury at ledger 1: 10^18 stroops. */
export const GENESIS_STROOPS = 1_000_000_000_000_000_000n;
/** What the issuer puts into circulation of each of its two assets, in ledger 3. */
export const ISSUED_STROOPS = 100_000_000_000_000_000n;

export interface Cast {
  /** Holds the genesis balance, funds everybody and settles every account at the end of each 64 ledgers. */
  readonly treasury: string;
  readonly issuer: string;
  /** Takes the other side of path payments. */
  readonly maker: string;
  /** The accounts of the imaginary business; its book is written by services/sandbox-book. */
  readonly vaults: readonly string[];
  readonly customers: readonly string[];
  /** Accounts that are created, used, merged, and created again 512 ledgers later. */
  readonly visitors: readonly string[];
  /** A contract that customers pay into and are paid back from. */
  readonly contract: string;
  /** native first, then the two issued ones. */
  readonly assets: readonly [string, string, string];
  /** The accounts that are settled: maker, vaults, customers, in this order. */
  readonly settled: readonly string[];
}

const cache = new Map<string, Cast>();

/** The cast of a seed; the same seed always gives the same addresses. */
export function castOf(seed: string): Cast {
  const known = cache.get(seed);
  if (known) return known;
  const account = (role: string): string =>
    Keypair.fromRawEd25519Seed(hash('sha256', `trueup sandbox account\n${seed}\n${role}`, 'buffer')).publicKey();
  const several = (role: string, count: number): string[] =>
    Array.from({ length: count }, (_, index) => account(`${role} ${index}`));
  const issuer = account('issuer');
  const maker = account('maker');
  const vaults = several('vault', VAULT_COUNT);
  const customers = several('customer', CUSTOMER_COUNT);
  const cast: Cast = {
    treasury: account('treasury'),
    issuer,
    maker,
    vaults,
    customers,
    visitors: several('visitor', VISITOR_COUNT),
    contract: StrKey.encodeContract(hash('sha256', `trueup sandbox contract\n${seed}`, 'buffer')),
    assets: [NATIVE, `USDX:${issuer}`, `EURX:${issuer}`],
    settled: [maker, ...vaults, ...customers],
  };
  if (cache.size >= CAST_CACHE_SIZE) cache.delete(cache.keys().next().value!);
  cache.set(seed, cast);
  return cast;
}

/** The id (B...) of the claimable balance that a ledger creates. */
export function claimableBalanceId(network: string, ledger: number): string {
  const id = hash('sha256', `${network}\nclaimable balance\n${ledger}`, 'buffer');
  return StrKey.encodeClaimableBalance(Buffer.concat([Buffer.from([0]), id]));
}

/** Stroops that the settled accounts hold when a block of 64 ledgers has ended: one number per account and asset. */
export type Targets = readonly (readonly [number, number, number])[];

/** What each settled account is brought to at the end of block `block`; block -1 is before the network began. */
export function targetsOf(network: string, cast: Cast, block: number): Targets {
  if (block < 0) return cast.settled.map(() => [0, 0, 0] as const);
  const random = randomFrom(`${network}\ntargets\n${block}`);
  const around = (lumens: number): number =>
    (lumens - lumens / 40 + random.below(lumens / 20)) * LUMEN + random.below(LUMEN);
  return cast.settled.map((_, index) => {
    const lumens = index === 0 ? 50_000_000 : index <= VAULT_COUNT ? 1_000_000 : 400_000;
    return [around(lumens), around(lumens), around(lumens)] as const;
  });
}
