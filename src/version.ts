// The package's own version, as people and metrics are told.
import { readFileSync } from 'node:fs';

/** Also right from dist/, which lies as deep below package.json as src/. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
