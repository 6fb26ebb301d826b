// Columns whose values the ORM's own types would bend.
import { p, Type } from '@mikro-orm/core';
import { fromJson, toJson } from './json.ts';

/** jsonb in which bigint and Date survive (see json.ts). */
export const keptJson = <T>() => p.type(KeptJson).columnType('jsonb').$type<T>();

/** jsonb as the text that PostgreSQL writes, for what is only shown: its numbers aren't read, so none is rounded. */
export const jsonText = () => p.type(JsonText).columnType('jsonb').$type<string>();

/** timestamptz as text with its microseconds, for the time that a list is ordered by: a Date would skip or repeat rows. */
export const exactTime = () => p.type(ExactTime).columnType('timestamptz').$type<string>();

class KeptJson extends Type<unknown, unknown> {
  override convertToDatabaseValue(value: unknown): unknown {
    return value === null || value === undefined ? value : toJson(value);
  }

  override convertToJSValue(column: unknown): unknown {
    return column === null || column === undefined ? column : fromJson(column);
  }
}

class ExactTime extends Type<string, string> {
  /** Without it the ORM takes the column's type for a Date. */
  override get runtimeType(): string {
    return 'string';
  }
}

class JsonText extends Type<string, string> {
  override convertToJSValueSQL(column: string): string {
    return `${column}::text`;
  }
}
