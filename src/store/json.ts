// Values in jsonb columns: money and times survive the trip, which plain JSON would not let them.

/** bigint as {"$n": "..."}, Date as {"$t": "..."}; everything else as JSON has it. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, plain: unknown) {
    // A Date has already been turned into text by its own toJSON when it gets here, so the holder is asked.
    const raw = this[key];
    if (typeof raw === 'bigint') return { $n: raw.toString() };
    if (raw instanceof Date) return { $t: raw.toISOString() };
    return plain;
  });
}

/** The value that `toJson` wrote, from the column as text or as parsed by the driver. */
export function fromJson<T>(column: unknown): T {
  return revive(typeof column === 'string' ? (JSON.parse(column) as unknown) : column) as T;
}

function revive(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== 'object') return value;
  const object = value as Record<string, unknown>;
  if (typeof object.$n === 'string') return BigInt(object.$n);
  if (typeof object.$t === 'string') return new Date(object.$t);
  return Object.fromEntries(Object.entries(object).map(([key, inner]) => [key, revive(inner)]));
}
