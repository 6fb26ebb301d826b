// Ids as callers write them: whatever isn't a UUID names nothing, and must not reach a uuid column.
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A UUID that no row has. */
export const NOBODYS_UUID = '00000000-0000-0000-0000-000000000000';

export function isUuid(text: string): boolean {
  return UUID.test(text);
}
