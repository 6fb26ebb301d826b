// Says which exports nobody imports. What the client package offers is for others, and a `default` export is asked for by
// the tool that loads the file.
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { analyzeTsConfig } from 'ts-unused-exports';

/** The package's own types describe an older answer. */
interface Analysis {
  readonly unusedExports: Readonly<Record<string, readonly { exportName: string; location?: { line: number } }[]>>;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
/** The client package's offer, and what the contract generates. */
const FOR_OTHERS = ['src/client/', 'gen/'];

if (import.meta.main) {
  const { unusedExports } = analyzeTsConfig(`${root}tsconfig.json`, ['--ignoreLocallyUsed']) as unknown as Analysis;
  let found = 0;
  for (const [file, exports] of Object.entries(unusedExports)) {
    const path = relative(root, file);
    if (FOR_OTHERS.some((folder) => path.startsWith(folder))) continue;
    for (const { exportName, location } of exports) {
      if (exportName === 'default') continue;
      found += 1;
      console.error(`${path}:${location?.line ?? 1} exports ${exportName}, which nobody imports`);
    }
  }
  process.exitCode = found === 0 ? 0 : 1;
}
