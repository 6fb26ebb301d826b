// Whether the marketplace's tables have what the queries need: every mapped column, and an index for each gauge.
import type { LedgerGaugeName } from '../core/ledger-health.ts';
import type { BookSession } from './book-session.ts';
import { quotedTable, type GaugeQuery } from './marketplace-queries.ts';

export interface SchemaFindings {
  /** Tables and columns that aren't there, each with where the configuration names it. */
  readonly missing: readonly string[];
  /** One may serve several gauges. */
  readonly missingIndexes: readonly { readonly gauges: readonly LedgerGaugeName[]; readonly statement: string }[];
}

/** @throws MARKETPLACE_UNREADABLE */
export async function checkSchema(
  session: Pick<BookSession, 'rows'>,
  queries: readonly GaugeQuery[],
): Promise<SchemaFindings> {
  const missing = new Set<string>();
  const unserved = new Map<string, LedgerGaugeName[]>();
  for (const query of queries) {
    const table = await readTable(session, query.table);
    if (table === null) {
      const key = query.uses[0]!.key.split('.', 1)[0]!;
      missing.add(`table ${query.table} (marketplace.${key}.table)`);
      continue;
    }
    for (const { key, column } of query.uses)
      if (!table.columns.includes(column)) missing.add(`column ${query.table}.${column} (marketplace.${key})`);
    // What stands behind a view is the view's own business.
    if (table.isView || table.indexes.some((index) => serves(index, query))) continue;
    const { statement } = query.index;
    unserved.set(statement, [...(unserved.get(statement) ?? []), query.name]);
  }
  const missingIndexes = [...unserved].map(([statement, gauges]) => ({ gauges, statement }));
  return { missing: [...missing], missingIndexes };
}

interface TableFacts {
  readonly isView: boolean;
  readonly columns: readonly string[];
  readonly indexes: readonly IndexFacts[];
}

interface IndexFacts {
  /** Null: an expression. */
  readonly first_column: string | null;
  /** Null: it has every row. */
  readonly predicate: string | null;
}

/** Rows of one status are found by an index that begins with the status, or that has only those rows. */
function serves({ first_column: first, predicate }: IndexFacts, { index }: GaugeQuery): boolean {
  if (first === index.column && predicate === null) return true;
  const literal = `'${index.status.replaceAll("'", "''")}'`;
  return (
    predicate !== null &&
    predicate.includes(index.column) &&
    predicate.includes(literal) &&
    !/<>|!=|NOT \(/.test(predicate.split(literal, 1)[0]!)
  );
}

async function readTable(session: Pick<BookSession, 'rows'>, name: string): Promise<TableFacts | null> {
  const [found] = await session.rows<{ oid: string; kind: string }>(
    `select c.oid::text as oid, c.relkind::text as kind from pg_class c where c.oid = to_regclass($1)`,
    [quotedTable(name)],
  );
  if (found === undefined) return null;
  const columns = await session.rows<{ name: string }>(
    `select attname::text as name from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped`,
    [found.oid],
  );
  const indexes = await session.rows<IndexFacts>(
    `select a.attname::text as first_column, pg_get_expr(i.indpred, i.indrelid) as predicate
     from pg_index i left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
     where i.indrelid = $1::oid and i.indisvalid`,
    [found.oid],
  );
  return { isView: ['v', 'f'].includes(found.kind), columns: columns.map((column) => column.name), indexes };
}
