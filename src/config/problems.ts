// Everything that is wrong with the settings, gathered, so that one start shows all of it.
import { TrueUpError } from '../core/errors.ts';
import type { FieldViolation } from '../core/errors.ts';

const maxShownValueChars = 120;
const maxShownProblems = 50;

export class Problems {
  readonly #found: FieldViolation[] = [];
  readonly #unreadable = new Set<string>();

  /** `field` is the variable or the path in trueup.yaml; `description` says what is wrong and ends with the fix. */
  add(field: string, description: string): void {
    // A rule between settings would accuse the innocent when one of them can't be read, so it stays silent about those.
    const names = `${field} ${description}`.match(/[A-Z][A-Z0-9_]+/g) ?? [];
    if (names.some((name) => this.#unreadable.has(name))) return;
    this.#found.push({ field, description });
  }

  /** A variable that is wrong by itself: `name` as the table has it, `typedAs` as the environment has it (an alias). */
  addUnreadable(name: string, typedAs: string, description: string): void {
    this.#found.push({ field: typedAs, description });
    this.#unreadable.add(name);
  }

  get any(): boolean {
    return this.#found.length > 0;
  }

  /** @throws TrueUpError INVALID_CONFIGURATION that names every problem, if there are any. */
  throwIfAny(): void {
    if (!this.any) return;
    const count = this.#found.length;
    const lines = this.#found.slice(0, maxShownProblems).map(({ field, description }) => `  ${field} ${description}`);
    if (count > maxShownProblems) lines.push(`  and ${count - maxShownProblems} more`);
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `${count} ${count === 1 ? 'setting is' : 'settings are'} wrong:\n${lines.join('\n')}`,
      {
        fields: this.#found,
        fix: 'Correct every setting named above and start again; docs/configuration.md lists them all.',
      },
    );
  }
}

/** A value as it may be printed: short, on one line, and nothing at all of a secret or of what looks like a secret seed. */
export function shown(value: string, secret: boolean): string {
  if (secret) return '[secret]';
  const short = value.length > maxShownValueChars ? `${value.slice(0, maxShownValueChars)}...` : value;
  return JSON.stringify(hideSeeds(short));
}

/** Blanks Stellar secret seeds (S...), also cut ones, which people paste where an account id belongs. */
export function hideSeeds(text: string): string {
  return text.replace(/\bS[A-Z2-7]{20,55}\b/g, '[secret seed]');
}
