// `npm test [FILTER...] [vitest's options]`: runs the tests. A shared machine may hold a process up for longer than any test foresees,
// so with CI set a file that failed is tried again, whole: a test that killed its server can't be tried by itself. Never a file in
// which a random case failed, since its next seed is another one. What needed a second try is named before the last line.
import { createVitest, parseCLI, type TestModule } from 'vitest/node';
import SummaryReporter from './_util/summary-reporter.ts';

const MAX_TRIES = 3;
/** More than that, and it isn't the machine. */
const MAX_FILES_TRIED_AGAIN = 5;

const summary = new SummaryReporter();
const { filter, options } = parseCLI(['vitest', 'run', ...process.argv.slice(2)]);
const vitest = await createVitest('test', { ...options, reporters: ['default', summary] });
try {
  let { testModules: failed } = await vitest.start(filter);
  for (let tries = 1; process.env['CI'] && tries < MAX_TRIES; tries++) {
    failed = failed.filter((module) => !module.ok());
    if (failed.length === 0 || failed.length > MAX_FILES_TRIED_AGAIN || failed.some(failedAtRandom)) break;
    const again = new Set(failed.map(({ moduleId }) => moduleId));
    console.log(`\ntried again: ${[...again].join(', ')}`);
    ({ testModules: failed } = await vitest.runTestFiles([...again]));
  }
} catch (error) {
  // Without files there is no run, and the reporter has counted that.
  if ((error as { code?: string }).code !== 'VITEST_FILES_NOT_FOUND') throw error;
} finally {
  await vitest.close();
}
process.exitCode = summary.print();

function failedAtRandom(module: TestModule): boolean {
  return [...module.children.allTests()].some((test) =>
    test.result().errors?.some(({ message }) => message.includes('Property failed after')),
  );
}
