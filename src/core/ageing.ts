// How old what differs is: buckets of whole days of 24 hours, counted from the item's own date.

export interface AgeBucket {
  /** Inclusive, as `throughDays` is: the age is rounded down to whole days. */
  readonly fromDays: number;
  /** Null: without an end. */
  readonly throughDays: number | null;
}

export interface AgeCount extends AgeBucket {
  readonly count: number;
}

export const AGE_BUCKETS: readonly AgeBucket[] = [
  { fromDays: 0, throughDays: 1 },
  { fromDays: 2, throughDays: 7 },
  { fromDays: 8, throughDays: 30 },
  { fromDays: 31, throughDays: null },
];
