// Keeping the follower's lease while it reads and pauses; every write asks for it again inside its own transaction.
import { TrueUpError } from '../core/errors.ts';
import type { Database } from '../store/database.ts';
import { renewLease } from '../store/leases.ts';
import type { Events } from '../telemetry/events.ts';

export interface Lease {
  readonly name: string;
  readonly token: bigint;
  readonly ttlMs: number;
}

/** The lease of whoever follows a network; an operator's restart takes it away. */
export function followerLease(networkPassphrase: string): string {
  return `follower:${networkPassphrase}`;
}

/** Renews the lease three times in its life, and ends the term once somebody else has it. Clear the timer at the end. */
export function keepLease(
  options: { readonly db: Database; readonly events: Events },
  lease: Lease,
  term: AbortController,
): NodeJS.Timeout {
  return setInterval(() => {
    renewLease(options.db.em(), lease.name, lease.token, lease.ttlMs).then(
      (held) => {
        if (held) return;
        options.events.leaseLost({ lease: lease.name, kind: 'follower' });
        term.abort(new TrueUpError('LEASE_LOST', `another process follows now (${lease.name})`));
      },
      // A database that doesn't answer can't be asked whether the lease is ours; every write asks again inside its transaction.
      () => undefined,
    );
  }, lease.ttlMs / 3);
}
