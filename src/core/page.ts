// Keyset pages: a list is read in a fixed order, and the next page begins after the last row of this one.

/**
 * Where a page ended: the sort key of its last row, as the query that made it wants it back. Only JSON scalars, so
 * that it survives the trip through a page token; a bigint or a Date travels as text.
 */
export type PagePosition = Readonly<Record<string, string | number | boolean | null>>;

export interface PageRequest {
  /** 1 to the method's cap; the door has already put in the default and lowered what was above the cap. */
  readonly size: number;
  /** Null for the first page. */
  readonly after: PagePosition | null;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Null when there is nothing after this page. */
  readonly next: PagePosition | null;
  /** Rows of all pages together; left out where counting them would cost more than the page. */
  readonly totalSize?: number;
}

export const EMPTY_PAGE: Page<never> = { items: [], next: null };

/**
 * Makes a page of rows that were read with a limit of `size + 1`: the extra row only says that there is more.
 */
export function pageOf<Row, T = Row>(
  rows: readonly Row[],
  size: number,
  position: (last: Row) => PagePosition,
  convert: (row: Row) => T = (row) => row as unknown as T,
): Page<T> {
  const shown = rows.slice(0, size);
  return { items: shown.map(convert), next: rows.length > size ? position(shown[size - 1]!) : null };
}
