// What a run came to, for people and scripts: `12 passed, 0 failed`, with `, 3 skipped` where there are any. Of a file that was tried
// again the last try counts, and its name is told.
import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

export default class SummaryReporter implements Reporter {
  readonly #modules = new Map<string, TestModule>();
  readonly #late = new Set<string>();
  #strayErrors = 0;
  #isEmpty = true;

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[], reason: TestRunEndReason): void {
    this.#isEmpty &&= modules.length === 0 && reason !== 'passed';
    this.#strayErrors += unhandledErrors.length;
    for (const module of modules) {
      if (this.#modules.has(module.moduleId)) this.#late.add(module.moduleId);
      this.#modules.set(module.moduleId, module);
    }
  }

  /** Prints the last lines, and gives the exit code. */
  print(): number {
    const { passed, failed: counted, skipped } = countResults([...this.#modules.values()], this.#strayErrors);
    // A run that never came to its tests, for want of a database or of files, failed once.
    const failed = counted === 0 && this.#isEmpty ? 1 : counted;
    for (const name of this.#late)
      if (this.#modules.get(name)!.ok()) console.log(`passed only when tried again: ${name}`);
    console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
    return failed > 0 ? 1 : 0;
  }
}

/** A file that doesn't load, a suite whose hook fails and an error outside any test each count as one failed. */
function countResults(
  modules: readonly TestModule[],
  strayErrors: number,
): { passed: number; failed: number; skipped: number } {
  const counts = { passed: 0, failed: strayErrors, skipped: 0 };
  for (const module of modules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // A test that never came to its end is not a test that passed.
      if (state === 'pending') counts.failed++;
      else counts[state]++;
    }
    const suites = [...module.children.allSuites()];
    counts.failed += [module, ...suites].filter((each) => each.errors().length > 0).length;
  }
  return counts;
}
