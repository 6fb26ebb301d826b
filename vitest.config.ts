// Pure tests lie beside their source, the others in test/. Two workers: the tests share two cores with one database server.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**', 'src/console/**', 'test/nightly/**'],
    globalSetup: ['test/_util/global-setup.ts'],
    reporters: ['default', './test/_util/summary-reporter.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    // A shared machine may hold a process up for longer than any test foresees, so CI tries again and names what needed it. Never what
    // a random test found: its next seed is another one.
    retry: process.env['CI'] ? { count: 2, condition: /^(?![^]*Property failed after)/ } : 0,
  },
});
