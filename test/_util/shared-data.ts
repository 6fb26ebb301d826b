// Real ledgers recorded from public networks; they live beside the repository and are never copied into it.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../../shared/data/', import.meta.url);

/** Absolute path of a recorded file or folder, relative to the data folder. */
export function sharedData(path: string): string {
  return fileURLToPath(new URL(path, root));
}

export const hasSharedData = existsSync(root);
