// JSON whose whole numbers survive.

/** A colon, comma or bracket, then 16 digits or more: only then can a number have lost its last digits. */
const MAY_HOLD_LARGE_INTEGER = /[:,[]\s*-?\d{16}/;

/** What JavaScript's parser tells a reviver about the text it read (ES2026); TypeScript's library doesn't say it yet. */
type SourceReviver = (this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown;
const parseWithSource = JSON.parse as (text: string, reviver: SourceReviver) => unknown;

/**
 * JSON.parse, except that an integer outside +-2^53 stays the decimal string that was written: ledger ids pass 2^53 and
 * some servers don't quote them.
 *
 * @throws SyntaxError
 */
export function parseJson(text: string): unknown {
  if (!MAY_HOLD_LARGE_INTEGER.test(text)) return JSON.parse(text) as unknown;
  return parseWithSource(text, (_key, value, context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
      ? context!.source
      : value,
  );
}
