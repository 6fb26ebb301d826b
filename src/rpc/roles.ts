// What a caller may do: a role includes those below it.

export const ACCESS_ROLES = ['read', 'operate', 'admin'] as const;
export type AccessRole = (typeof ACCESS_ROLES)[number];

export interface Caller {
  /** The token's name; `anonymous` where no tokens are configured. */
  readonly name: string;
  readonly role: AccessRole;
}

export function includesRole(have: AccessRole, needed: AccessRole): boolean {
  return ACCESS_ROLES.indexOf(have) >= ACCESS_ROLES.indexOf(needed);
}

/** Says who calls, from the authorization header and the peer's address. */
export interface Authenticator {
  /** @throws TrueUpError UNAUTHENTICATED */
  authenticate(authorization: string | undefined, peerAddress: string): Caller;
}
