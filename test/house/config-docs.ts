// Says whether the generated reference of the settings is what the tables would write now; `--write` writes it.
import { readFileSync, writeFileSync } from 'node:fs';
import { configFileJsonSchema, configurationMarkdown } from '../../src/config/reference.ts';

const FILES = [
  { path: new URL('../../docs/configuration.md', import.meta.url), make: configurationMarkdown },
  { path: new URL('../../docs/trueup.schema.json', import.meta.url), make: configFileJsonSchema },
];

if (import.meta.main) {
  let stale = 0;
  for (const { path, make } of FILES) {
    const text = make();
    if (process.argv.includes('--write')) writeFileSync(path, text);
    else if (readOrEmpty(path) !== text) {
      stale += 1;
      console.error(`${path.pathname} is out of date: node test/house/config-docs.ts --write`);
    }
  }
  process.exitCode = stale === 0 ? 0 : 1;
}

function readOrEmpty(path: URL): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
