// PostgreSQL's text form of an array. The driver makes it too, but escapes and copies every element: three times the work,
// which shows where thousands of rows are written at once.

/** `{a,"b c",NULL}`: elements that could be misread are quoted, all others stand as they are. */
export function arrayLiteral(values: readonly (string | number | bigint | boolean | null)[]): string {
  let text = '{';
  let separator = '';
  for (const value of values) {
    text += separator + (value === null ? 'NULL' : typeof value === 'string' ? element(value) : String(value));
    separator = ',';
  }
  return `${text}}`;
}

/** What needs no quotes: accounts, assets, kinds and plain numbers, which is nearly everything. */
const PLAIN = /^[A-Za-z0-9_:.+-]+$/;

function element(value: string): string {
  if (PLAIN.test(value) && !(value.length === 4 && value.toUpperCase() === 'NULL')) return value;
  return `"${value.replace(/["\\]/g, '\\$&')}"`;
}
