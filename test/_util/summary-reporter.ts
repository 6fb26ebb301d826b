// The last line of a run, for people and scripts: `12 passed, 0 failed`, with `, 3 skipped` where there are any.
import type { Reporter, TestModule, TestRunEndReason } from 'vitest/node';

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[], reason: TestRunEndReason): void {
    const { passed, failed: counted, skipped } = countResults(modules, unhandledErrors.length);
    // A run that never came to its tests, for want of a database or of files, failed once.
    const failed = counted === 0 && reason !== 'passed' ? 1 : counted;
    const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
    // After the other reporters have said theirs, whatever order they are listed in.
    setImmediate(() => {
      for (const name of passedLate(modules)) console.log(`passed only when tried again: ${name}`);
      console.log(line);
    });
  }
}

function passedLate(modules: readonly TestModule[]): string[] {
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  return tests.filter((test) => test.diagnostic()?.flaky).map((test) => `${test.module.moduleId} > ${test.fullName}`);
}

/** A file that doesn't load, a suite whose hook fails and an error outside any test each count as one failed. */
function countResults(
  modules: readonly TestModule[],
  unhandledErrors: number,
): { passed: number; failed: number; skipped: number } {
  const counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
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
