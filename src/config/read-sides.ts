// The sides that trueup.yaml names, with what they point to: a variable's URL, a file's SELECT, a file of rows.
import type { ConfiguredSide } from './config.ts';
import type { DeclaredSide } from './policy-schema.ts';
import type { Problems } from './problems.ts';
import type { NamedFiles } from './read-config.ts';

export interface ReadSides {
  readonly sides: Readonly<Record<string, ConfiguredSide>>;
  /** URLs of the postgres sides by the name of the side; never shown. */
  readonly urls: Readonly<Record<string, string>>;
}

/** `at` names the file of the declarations in what is wrong. */
export function readSides(
  declared: Readonly<Record<string, DeclaredSide>>,
  at: string,
  env: Readonly<Record<string, string | undefined>>,
  files: NamedFiles,
  problems: Problems,
): ReadSides {
  const sides: Record<string, ConfiguredSide> = {};
  const urls: Record<string, string> = {};
  for (const [name, side] of Object.entries(declared)) {
    const where = `${at}: sides.${name}`;
    if (side.kind === 'file') {
      const format = side.format ?? formatOf(side.path);
      if (format === null)
        problems.add(where, 'has a path that tells no format. Fix: add format: csv or format: jsonl.');
      sides[name] = { kind: 'file', path: files.inCwd(side.path), format: format ?? 'csv' };
      continue;
    }
    const url = env[side.url_env]?.trim() ?? '';
    if (url === '')
      problems.add(where, `names ${side.url_env}, which is unset. Fix: set it to the URL of the database.`);
    else if (!/^postgres(ql)?:\/\//.test(url))
      problems.add(where, `names ${side.url_env}, which is no postgresql:// URL. Fix: correct that variable.`);
    urls[name] = url;
    sides[name] = { kind: 'postgres', query: queryOf(side, where, files, problems), immutable: side.immutable };
  }
  return { sides, urls };
}

function queryOf(
  side: Extract<DeclaredSide, { kind: 'postgres' }>,
  where: string,
  files: NamedFiles,
  problems: Problems,
): string {
  if ((side.query === undefined) === (side.query_file === undefined)) {
    problems.add(where, 'needs exactly one of query and query_file. Fix: keep one of them.');
    return '';
  }
  const query = side.query ?? files.read(`${where}.query_file`, side.query_file!);
  if (query !== undefined && query.trim() === '')
    problems.add(where, 'has an empty query. Fix: write one SELECT with the columns of a book.');
  return query ?? '';
}

function formatOf(path: string): 'csv' | 'jsonl' | null {
  if (/\.csv$/i.test(path)) return 'csv';
  return /\.(jsonl|ndjson)$/i.test(path) ? 'jsonl' : null;
}
