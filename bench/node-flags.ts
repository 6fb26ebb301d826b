// What `npm start` tells Node, so that what is measured is what runs.
import { readFileSync } from 'node:fs';

/** The flags of the package's start script that come before its file. */
export function nodeFlagsOfStart(): string[] {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    readonly scripts: { readonly start: string };
  };
  const [, ...words] = manifest.scripts.start.split(' ');
  return words.slice(
    0,
    words.findIndex((word) => !word.startsWith('-')),
  );
}
