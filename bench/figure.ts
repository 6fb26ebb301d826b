// One line of `npm run bench`: what was measured, what the machine can do at most, what is asked for.

export interface Figure {
  /** Begins with house., reconcile., backfill., manifest., payments. or console. */
  readonly name: string;
  /** Null where it could not be measured; `reason` then says why. */
  readonly value: number | null;
  readonly unit: string;
  /** What the same machine does at most, measured in the same run, in the same unit; null where nothing is compared. */
  readonly limit: number | null;
  /** value / limit. */
  readonly ratio: number | null;
  /** Asked of the ratio where there is one, else of the value; null: nothing is asked, the figure only explains another. */
  readonly target: number | null;
  /** Null where nothing is asked or nothing was measured. */
  readonly holds: boolean | null;
  readonly reason?: string;
}

/** A value that must be at least `target`. */
export function atLeast(name: string, value: number, unit: string, target: number): Figure {
  return { ...plain(name, value, unit), target, holds: value >= target };
}

/** A value that must be at most `target`. */
export function atMost(name: string, value: number, unit: string, target: number): Figure {
  return { ...plain(name, value, unit), target, holds: value <= target };
}

/** A value that must reach `target` of what the machine does at most. */
export function shareOf(name: string, value: number, unit: string, limit: number, target: number): Figure {
  const ratio = rounded(value / limit);
  return { ...plain(name, value, unit), limit: rounded(limit), ratio, target, holds: ratio >= target };
}

/** A value that must not grow past `target` times `before`. */
export function growthFrom(name: string, value: number, unit: string, before: number, target: number): Figure {
  const ratio = rounded(value / before);
  return { ...plain(name, value, unit), limit: rounded(before), ratio, target, holds: ratio <= target };
}

/** A value that explains another; nothing is asked of it. */
export function reported(name: string, value: number, unit: string): Figure {
  return plain(name, value, unit);
}

/** What could not be measured here, and why. */
export function unmeasured(name: string, unit: string, reason: string): Figure {
  return { name, value: null, unit, limit: null, ratio: null, target: null, holds: null, reason };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The figures as a table for people, names on the left and numbers on the right. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.name,
    text(figure.value),
    figure.unit,
    text(figure.limit),
    text(figure.ratio),
    text(figure.target),
    figure.holds === null ? (figure.reason ?? '') : figure.holds ? 'holds' : 'MISSED',
  ]);
  const lines = [['name', 'value', 'unit', 'limit', 'ratio', 'target', ''], ...rows];
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (NUMBERS.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const NUMBERS = new Set([1, 3, 4, 5]);

function plain(name: string, value: number, unit: string): Figure {
  return { name, value: rounded(value), unit, limit: null, ratio: null, target: null, holds: null };
}

/** Three decimals below ten, whole numbers from a thousand on: more was not measured. */
function rounded(value: number): number {
  return Number(value.toFixed(value < 10 ? 3 : value < 1000 ? 1 : 0));
}

function text(value: number | null): string {
  return value === null ? '-' : String(value);
}
