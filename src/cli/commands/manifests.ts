// `trueup manifests`: list them, look at one, write its evidence into a folder, hold and release it.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type Command, InvalidArgumentError } from 'commander';
import { contract, describeError, type TrueUpClient } from '../../client/index.ts';
import { proofBytes } from '../../core/inclusion-proof.ts';
import { canonicalBytes } from '../../core/jcs.ts';
import { readPublicKey } from '../../core/signing-key.ts';
import { pagesOf, positive, printMessage, remoteOptions, type RemoteOptions, time, withClient } from '../remote.ts';
import { factLines } from '../table.ts';
import { FILE_NAMES } from '../verify/evidence-folder.ts';
import { countWords, NOTHING, timeWords } from '../words.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';
import { printTable } from './ledger.ts';

const PAGE_SIZE = 200;
const SEALED_POLL_MS = 500;
const MAX_WAIT_S = 3_600;
const DEFAULT_WAIT_S = 60;

interface ListOptions extends RemoteOptions {
  readonly requester?: string;
  readonly kind?: string;
  readonly from?: Date;
  readonly to?: Date;
  readonly held?: true;
  readonly pruned?: true;
  readonly limit: number;
}

export function registerManifests(program: Command, world: World, run: Run): void {
  const group = program.command('manifests').description('evidence of exports');
  const verb = (name: string, about: string): Command => remoteOptions(group.command(name).description(about), world);
  verb('list', 'manifests, newest first')
    .option('--requester <name>', 'only of this requester')
    .option('--kind <kind>', 'only of this kind, such as entries or statement', kindOf)
    .option('--from <time>', 'only made at or after', time)
    .option('--to <time>', 'only made before', time)
    .option('--held', 'only those with a hold in force')
    .option('--pruned', 'also those whose artifact was removed')
    .option('--limit <count>', 'most to print', positive(1_000_000_000), 50)
    .action((options: ListOptions) => run(() => list(world, options)));
  verb('get <manifest>', 'one manifest').action((id: string, options: RemoteOptions) =>
    run(() => withClient(world, options, (client) => print(world, client, id, options))),
  );
  verb(
    'bundle <manifest> <folder>',
    'write its evidence into a folder for `trueup verify`; the artifact goes beside it',
  )
    .option('--wait <seconds>', 'longest wait for the log to be sealed', positive(MAX_WAIT_S), DEFAULT_WAIT_S)
    .action((id: string, folder: string, options: RemoteOptions & { wait: number }) =>
      run(() => withClient(world, options, (client) => bundle(world, client, id, folder, options))),
    );
  verb('hold <manifest>', 'keep its artifact whatever retention says')
    .requiredOption('--reason <text>', 'why')
    .action((manifestId: string, options: RemoteOptions & { reason: string }) =>
      run(() =>
        withClient(world, options, async (client) => {
          const request = { manifestId, reason: options.reason, requestId: randomUUID() };
          return printHold(world, options, (await client.manifest.placeHold(request, call(world))).hold!);
        }),
      ),
    );
  verb('release <hold>', 'end a hold')
    .requiredOption('--reason <text>', 'why')
    .action((holdId: string, options: RemoteOptions & { reason: string }) =>
      run(() =>
        withClient(world, options, async (client) => {
          const request = { holdId, reason: options.reason, requestId: randomUUID() };
          return printHold(world, options, (await client.manifest.releaseHold(request, call(world))).hold!);
        }),
      ),
    );
}

async function list(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const filter = {
      requester: options.requester ?? '',
      kinds: options.kind === undefined ? [] : [contract.ExportKind[options.kind as 'ENTRIES']],
      ...(options.from && { startTime: timestampFromDate(options.from) }),
      ...(options.to && { endTime: timestampFromDate(options.to) }),
      ...(options.held && { held: true }),
      includePruned: options.pruned ?? false,
    };
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.manifest.listManifests({ ...filter, pageSize, pageToken }, call(world));
      return { items: page.manifests, nextPageToken: page.nextPageToken };
    };
    for await (const manifests of pagesOf(read, options.limit, PAGE_SIZE)) {
      if (options.json) for (const each of manifests) await printMessage(world, contract.ManifestSchema, each);
      else
        await printTable(
          world,
          ['MANIFEST', 'MADE', 'KIND', 'REQUESTER', '>ROWS', 'LOG', 'HOLDS', 'FILE'],
          manifests.map((each) => [
            each.id,
            timeWords(each.generateTime),
            contract.ExportKind[each.kind]!.toLowerCase(),
            each.requester,
            countWords(each.rowCount),
            each.logIndex || 'not sealed',
            each.holds.length === 0 ? NOTHING : String(each.holds.length),
            isPruned(each) ? `${each.fileName} (removed)` : each.fileName,
          ]),
        );
    }
    return EXIT.ok;
  });
}

async function print(world: World, client: TrueUpClient, id: string, options: RemoteOptions): Promise<number> {
  const { manifest } = await client.manifest.getManifest({ manifestId: id }, call(world));
  if (options.json) await printMessage(world, contract.ManifestSchema, manifest!);
  else {
    const { fileName, checksum, keyId, requester, artifact, holds, logIndex } = manifest!;
    const facts: [string, string][] = [
      ['manifest', id],
      ['file', `${fileName}, ${countWords(artifact!.sizeBytes)} bytes${isPruned(manifest!) ? ', removed' : ''}`],
      ['SHA-256', checksum],
      ['rows', countWords(manifest!.rowCount)],
      ['requester', requester],
      ['made', timeWords(manifest!.generateTime)],
      ['key', keyId],
      ['log', logIndex === '' ? 'not sealed yet' : `leaf ${logIndex}`],
      ...holds.map((hold): [string, string] => ['hold', `${hold.id} by ${hold.placedBy}: ${hold.reason}`]),
    ];
    for (const line of factLines(facts)) await printLine(world, line);
  }
  return EXIT.ok;
}

async function bundle(
  world: World,
  client: TrueUpClient,
  id: string,
  folder: string,
  options: RemoteOptions & { readonly wait: number },
): Promise<number> {
  const { manifest } = await client.manifest.getManifest({ manifestId: id }, call(world));
  const proof = await sealedProof(world, client, id, options.wait);
  const { publicKeyPem } = await client.manifest.getCheckpoint({ treeSize: proof.treeSize }, call(world));
  const leaf = Buffer.from(proof.leafHash);
  const proofFile = proofBytes({
    ...{ index: Number(proof.logIndex), size: Number(proof.treeSize), leaf },
    hashes: proof.hashes.map((hash) => Buffer.from(hash)),
  });
  const keys = publicKeyPem === '' ? [] : [{ keyId: readPublicKey(publicKeyPem).keyId, publicKeyPem }];
  const files: [string, Uint8Array][] = [
    [FILE_NAMES.envelope, manifest!.envelope],
    [FILE_NAMES.proof, proofFile],
    [FILE_NAMES.checkpoint, proof.checkpoint!.note],
    [FILE_NAMES.keys, canonicalBytes({ keys })],
  ];
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
  if (options.json) {
    const written = files.map(([name, bytes]) => ({ name, sha256: createHash('sha256').update(bytes).digest('hex') }));
    await printLine(world, JSON.stringify({ manifestId: id, folder, files: written }));
  } else {
    await printLine(world, `${folder}: ${files.map(([name]) => name).join(', ')}`);
    await printLine(world, `Put ${manifest!.fileName} there too, then: trueup verify ${folder}`);
  }
  return EXIT.ok;
}

/** The log is sealed in intervals, so a manifest that was just made has no proof for some seconds. */
async function sealedProof(world: World, client: TrueUpClient, manifestId: string, waitS: number) {
  const deadline = performance.now() + waitS * 1000;
  for (;;) {
    try {
      return (await client.manifest.getInclusionProof({ manifestId }, call(world))).proof!;
    } catch (error) {
      if (describeError(error).reason !== 'CHECKPOINT_NOT_FOUND') throw error;
      if (performance.now() > deadline)
        throw new CommandError(
          'NOT_SEALED',
          `manifest ${manifestId} is not sealed after ${waitS} s`,
          'see the log of the service for `log_sealed`',
        );
    }
    await sleep(SEALED_POLL_MS, undefined, { signal: world.signal });
  }
}

async function printHold(world: World, options: RemoteOptions, hold: contract.Hold): Promise<number> {
  if (options.json) await printMessage(world, contract.HoldSchema, hold);
  else await printLine(world, `hold ${hold.id} on ${hold.manifestId} is ${hold.releaseTime ? 'released' : 'in force'}`);
  return EXIT.ok;
}

function isPruned({ artifact }: contract.Manifest): boolean {
  return artifact?.state === contract.ArtifactState.PRUNED;
}

function kindOf(text: string): string {
  const word = text.toUpperCase().replaceAll('-', '_');
  if (word !== 'UNSPECIFIED' && word in contract.ExportKind) return word;
  throw new InvalidArgumentError('Write entries, drifts, runs, sweep-actions, audit or statement.');
}

function call(world: World): { signal: AbortSignal } {
  return { signal: world.signal };
}
