// One line of `npm run bench`.

export interface Figure {
  /** Begins with house., reconcile., backfill., manifest., payments. or console. */
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the same machine does at most, measured in the same run, in the same unit. */
  readonly limit: number;
  /** value / limit. */
  readonly ratio: number;
  /** The ratio that is asked for. */
  readonly target: number;
  readonly holds: boolean;
}
