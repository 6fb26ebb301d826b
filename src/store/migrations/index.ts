// Every migration in the order in which it is applied; the names are written into the database and never change.
import type { MigrationObject } from '@mikro-orm/core';
import { FirstHouse } from './0001-first-house.ts';

export const MIGRATIONS: MigrationObject[] = [{ name: '0001-first-house', class: FirstHouse }];
