// The street door: the environment comes in, signals are heard, an exit code goes out. Nothing else touches `process`.
import { readFileSync } from 'node:fs';
import { createApp, type App } from './app.ts';
import { readConfig } from './config/read-config.ts';
import type { Config } from './config/config.ts';
import { isTrueUpError, messageOf, TrueUpError } from './core/errors.ts';
import type { Addresses } from './doors.ts';
import { doctorBook as examineBook, type BookDoctorReport } from './services/doctor-book.ts';
import { withReadOnlyStore } from './doctor.ts';
import { createPostgresBook } from './sources/book-postgres.ts';

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_CONFIGURATION = 2;

/** Runs the service until SIGINT or SIGTERM; resolves with the exit code. A second signal ends the process at once. */
export async function serve(env: NodeJS.ProcessEnv): Promise<number> {
  let app: App | undefined;
  let stop!: (signal: string) => void;
  const stopped = new Promise<string>((resolve) => (stop = resolve));
  const onSignal = (signal: string): void => stop(signal);
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    const config = readConfig(env, { cwd: process.cwd(), readFile: (path) => readFileSync(path, 'utf8') });
    app = createApp(config, { logDestination: process.stderr });
    const started = app.start();
    const first = await Promise.race([started.then(() => 'started' as const), stopped]);
    if (first === 'started') {
      process.stdout.write(welcome(await started, config));
      await stopped;
    } else {
      // Stopped while starting: what is open by now is closed, and what fails on the way is no surprise.
      started.catch(() => undefined);
    }
    await app.close(await stopped);
    return EXIT_OK;
  } catch (error) {
    process.stderr.write(`${refusal(error)}\n`);
    return isTrueUpError(error, 'INVALID_CONFIGURATION') ? EXIT_CONFIGURATION : EXIT_FAILED;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** For `trueup doctor book`: the configured book, read as a run would read it. */
export async function doctorBook(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<BookDoctorReport> {
  const config = readConfig(env, { cwd: process.cwd(), readFile: (path) => readFileSync(path, 'utf8') });
  if (config.book === null || config.secrets.bookUrl === null) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      'there is no book to look at: TRUEUP_BOOK_URL and TRUEUP_BOOK_QUERY_FILE are unset',
      {
        fix: 'set both: the URL of a read-only role, and a file with one SELECT',
      },
    );
  }
  const book = createPostgresBook({ url: config.secrets.bookUrl, query: config.book.query });
  return withReadOnlyStore(config, (countKeysFound) => examineBook({ book, countKeysFound }, signal));
}

function welcome(addresses: Addresses, config: Config): string {
  const sandbox = config.source.kind === 'sandbox';
  const scheme = config.serving.tls === null ? 'http' : 'https';
  const buf = config.serving.tls === null ? '--http2-prior-knowledge ' : '';
  const grpcurl = config.serving.tls === null ? '-plaintext ' : '';
  return `
TrueUp ${sandbox ? 'follows the SANDBOX network: no real ledger, no real money' : `follows ${config.source.kind}`}
  page     ${scheme}://${addresses.http}/
  gRPC     ${addresses.grpc}
  metrics  http://${addresses.metrics}/metrics   (/livez /readyz /health)

Try it:
  npx trueup status
  npx trueup drifts
  npx buf curl --protocol grpc ${buf}${scheme}://${addresses.grpc}/trueup.v1.ReconciliationService/ListDrifts
  grpcurl ${grpcurl}${addresses.grpc} trueup.v1.ReconciliationService/ListDrifts

${sandbox ? 'The first verdict comes within half a minute, with five planted drifts; one is repaired after a minute.\n' : ''}Ctrl-C stops.
`;
}

function refusal(error: unknown): string {
  if (!isTrueUpError(error))
    return `trueup: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`;
  return `trueup: ${error.message}${error.details.fix ? `\n  fix: ${error.details.fix}` : ''}`;
}
