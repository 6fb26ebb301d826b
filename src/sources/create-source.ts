// From configuration to a source: which kind, over which HTTP client, of which network.
import { TrueUpError } from '../core/errors.ts';
import type { Watch } from '../core/watch.ts';
import type { HttpClient } from './http/types.ts';
import { createSandboxSource, type SandboxOptions } from './sandbox.ts';
import type { Source, SourceKind } from './source.ts';
import { createArchiveSource } from './stellar-archive.ts';
import { createHorizonSource, HORIZON_SPAN_ACCOUNTS, HORIZON_SPAN_EVERYTHING } from './stellar-horizon.ts';
import { createLakeSource } from './stellar-lake.ts';
import { createRpcSource, RPC_SPAN_CONTRACTS, RPC_SPAN_LEDGERS } from './stellar-rpc.ts';

/**
 * Behind one name there may stand replicas that lag by a ledger or two, and an account's page doesn't tell. Reads of everything
 * are proven against each ledger's header and need no margin.
 */
const HORIZON_TIP_MARGIN_LEDGERS = 2;

export interface SourceSettings {
  readonly kind: SourceKind;
  /** Null for the sandbox. */
  readonly url: string | null;
  /** Null: the endpoint's own word is taken. */
  readonly networkPassphrase: string | null;
  readonly watch: Watch;
  readonly sandbox: SandboxOptions;
}

/**
 * Builds the configured source.
 *
 * @throws TrueUpError SOURCE_... where the endpoint had to be asked for its network and didn't say.
 */
export async function createSource(settings: SourceSettings, http: HttpClient, signal: AbortSignal): Promise<Source> {
  if (settings.kind === 'sandbox') return createSandboxSource(settings.sandbox);
  const url = settings.url!;
  const networkPassphrase = settings.networkPassphrase ?? (await askForNetwork(settings.kind, url, http, signal));
  const { everything, accounts } = settings.watch;
  switch (settings.kind) {
    case 'stellar-archive':
      return createArchiveSource({ url, networkPassphrase, http });
    case 'stellar-lake':
      return createLakeSource({ url, networkPassphrase, http });
    case 'stellar-horizon': {
      const maxSpanLedgers = everything ? HORIZON_SPAN_EVERYTHING : HORIZON_SPAN_ACCOUNTS;
      const tipMarginLedgers = everything ? 0 : HORIZON_TIP_MARGIN_LEDGERS;
      return createHorizonSource({ url, networkPassphrase, http, maxSpanLedgers, tipMarginLedgers });
    }
    case 'stellar-rpc': {
      const onlyContracts = !everything && accounts.length === 0;
      return createRpcSource({
        url,
        networkPassphrase,
        http,
        maxSpanLedgers: onlyContracts ? RPC_SPAN_CONTRACTS : RPC_SPAN_LEDGERS,
      });
    }
  }
}

/**
 * The other sources that are configured, of the same network by our own word: their answers are checked against it. Each has a
 * name of its own.
 */
export async function createOtherSources(
  urls: Readonly<Partial<Record<SourceKind, readonly string[]>>>,
  followed: Source,
  settings: Omit<SourceSettings, 'kind' | 'url'>,
  http: HttpClient,
): Promise<Source[]> {
  if (followed.kind === 'sandbox') return [];
  const { networkPassphrase } = followed;
  const others = await Promise.all(
    // The passphrase is known, so nothing is asked and nothing has to be waited for.
    (Object.entries(urls) as [SourceKind, readonly string[]][]).flatMap(([kind, some]) =>
      some.map((url) => createSource({ ...settings, kind, url, networkPassphrase }, http, NEVER)),
    ),
  );
  return namedApart(followed, others);
}

/** Two addresses of one host are told apart by a number, in their order: what differs between them may be a secret. */
function namedApart(followed: Source, others: readonly Source[]): Source[] {
  const counts = new Map([[followed.id, 1]]);
  return others.map((source) => {
    const count = (counts.get(source.id) ?? 0) + 1;
    counts.set(source.id, count);
    return count === 1 ? source : { ...source, id: `${source.id}#${count}` };
  });
}

const NEVER = new AbortController().signal;

async function askForNetwork(
  kind: Exclude<SourceKind, 'sandbox'>,
  url: string,
  http: HttpClient,
  signal: AbortSignal,
): Promise<string> {
  const answer = await networkAnswer(kind, url, http, signal);
  if (typeof answer === 'string' && answer !== '') return answer;
  throw new TrueUpError('SOURCE_WRONG_NETWORK', `the ${kind} source doesn't say which network it serves`, {
    fix: 'set STELLAR_NETWORK_PASSPHRASE (the whole text, or testnet, or pubnet)',
  });
}

async function networkAnswer(
  kind: Exclude<SourceKind, 'sandbox'>,
  url: string,
  http: HttpClient,
  signal: AbortSignal,
): Promise<unknown> {
  const folder = url.endsWith('/') ? url : `${url}/`;
  switch (kind) {
    case 'stellar-horizon':
      return field((await http.getJson(folder, { signal, what: 'the root document' })).body, 'network_passphrase');
    case 'stellar-rpc': {
      const payload = { jsonrpc: '2.0', id: 1, method: 'getNetwork' };
      return field(
        field((await http.postJson(url, payload, { signal, what: 'getNetwork' })).body, 'result'),
        'passphrase',
      );
    }
    case 'stellar-lake':
      return url.startsWith('file:')
        ? null
        : field(
            (await http.getJson(new URL('.config.json', folder), { signal, what: 'the lake configuration' })).body,
            'networkPassphrase',
          );
    case 'stellar-archive':
      return url.startsWith('file:')
        ? null
        : field(
            (
              await http.getJson(new URL('.well-known/stellar-history.json', folder), {
                signal,
                what: 'the archive state',
              })
            ).body,
            'networkPassphrase',
          );
  }
}

function field(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}
