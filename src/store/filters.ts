// Conditions of lists, as the ORM takes them.

/** Without what is undefined or an empty list: neither narrows anything. */
export function given<T extends object>(conditions: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const narrows = ([, value]: [string, unknown]) =>
    value !== undefined && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(conditions).filter(narrows)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}

/** Rows after a position in a list that is ordered by `createdAt`, then `id`, both descending. The first bound is the index's. */
export function olderThan(createdAt: string, id: string) {
  return { createdAt: { $lte: createdAt }, $or: [{ createdAt: { $lt: createdAt } }, { id: { $lt: id } }] };
}
