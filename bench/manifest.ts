// What evidence costs to check. Goal: verifying offline is bounded by SHA-256 and by nothing else, in flat memory; a proof is cheap in a large
// log, and a long chain is checked in seconds. Method: `trueup verify` as a process of its own beside `openssl dgst` on the same sparse
// file (BENCH_GIB, 10); proofs out of a database with BENCH_LEAVES leaves (a million); 10,000 signed manifests checked in this process.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { recordOf } from '../src/core/evidence.ts';
import { signTreeHead } from '../src/core/log-checkpoint.ts';
import { leafBytes, type LogLeaf, manifestLeaf } from '../src/core/log-leaf.ts';
import { signManifest } from '../src/core/manifest.ts';
import { appendLeaves, type Edge, EMPTY_EDGE, leafHash, rootOf, verifyInclusion } from '../src/core/merkle.ts';
import { checkChain, checkLog } from '../src/core/verify-log.ts';
import { worstOf } from '../src/core/verify.ts';
import { createManifests } from '../src/services/manifests.ts';
import { type Database, sql } from '../src/store/database.ts';
import { DATABASE_EVIDENCE } from '../src/store/evidence-database.ts';
import { contentOf, logOf, manifestOf, newKey, ORIGIN, ringOf } from '../test/_util/evidence-samples.ts';
import { memoryArtifacts } from '../test/_util/evidence-house.ts';
import { atMost, type Figure, median, reported, shareOf } from './figure.ts';
import { startBenchServer } from './server.ts';

const GIB = 1024 ** 3;
const FILE_GIB = Number(process.env['BENCH_GIB'] ?? 10);
const LEAVES = Number(process.env['BENCH_LEAVES'] ?? 1_000_000);
const CHAIN = 10_000;
const PROOFS = 200;
const BATCH_LEAVES = 20_000;
const TARGET_RATIO = 0.8;
const TARGET_RSS_MIB = 96;
const TARGET_PROOF_MS = 5;
const TARGET_PROOF_HASHES = 20;
const TARGET_CHAIN_SECONDS = 5;
const RSS_POLL_MS = 20;
const BIN = fileURLToPath(new URL('../src/cli/bin.js', import.meta.url));

export async function offlineBench(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'trueup-verify-'));
  try {
    const sizeBytes = Math.round(FILE_GIB * GIB);
    const path = join(folder, 'large.csv');
    {
      await using file = await open(path, 'w');
      await file.truncate(sizeBytes);
    }
    const openssl = await run('openssl', ['dgst', '-sha256', '-r', path]);
    const sha256 = openssl.out.slice(0, 64);
    const key = newKey();
    const content = contentOf([Buffer.alloc(0)], { sizeBytes, sha256, parts: [{ sizeBytes, sha256 }] });
    const log = logOf([manifestOf(1, content, { fileName: 'large.csv' })], key);
    await writeFile(join(folder, 'manifest.dsse.json'), log.envelopes[0]!);
    await writeFile(join(folder, 'proof.json'), log.proof(0));
    await writeFile(join(folder, 'checkpoint'), log.checkpoint);
    await writeFile(join(folder, 'key.pem'), key.pem);
    const ours = await run(process.execPath, [BIN, 'verify', folder, '--key', join(folder, 'key.pem')]);
    if (ours.code !== 0) throw new Error(`trueup verify ended with ${ours.code}: ${ours.out}`);
    // Both once more, in the other order, for a file that was read before is read faster.
    const again = await run(process.execPath, [BIN, 'verify', folder, '--key', join(folder, 'key.pem')]);
    const opensslAgain = await run('openssl', ['dgst', '-sha256', '-r', path]);
    const rate = (seconds: number): number => sizeBytes / 1024 ** 2 / seconds;
    return [
      shareOf(
        'manifest.verify_openssl_ratio',
        rate(Math.min(ours.seconds, again.seconds)),
        'MiB/s',
        rate(Math.min(openssl.seconds, opensslAgain.seconds)),
        TARGET_RATIO,
      ),
      atMost('manifest.verify_rss_mib', Math.max(ours.peakMib, again.peakMib), 'MiB', TARGET_RSS_MIB),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export async function inclusionBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const { ids, keys } = await fillLog(db);
  const manifests = createManifests({ db, store: DATABASE_EVIDENCE, artifacts: memoryArtifacts(), keys });
  const times: number[] = [];
  let hashes = 0;
  for (const id of ids) {
    const startedMs = performance.now();
    const proof = await manifests.proveInclusion(id, null);
    times.push(performance.now() - startedMs);
    if (!verifyInclusion({ ...proof, root: proof.checkpoint.root }))
      throw new Error(`the proof of ${id} proves nothing`);
    hashes = Math.max(hashes, proof.hashes.length);
  }
  return [
    atMost('manifest.inclusion_proof_ms', median(times), 'ms', TARGET_PROOF_MS),
    atMost('manifest.inclusion_proof_hashes', hashes, 'hashes', TARGET_PROOF_HASHES),
    reported('manifest.inclusion_proof_slowest_ms', Math.max(...times), 'ms'),
  ];
}

export function chainBench(): Figure[] {
  const key = newKey();
  const content = contentOf([Buffer.from('ledger\n1\n')]);
  const log = logOf(
    Array.from({ length: CHAIN }, (_, i) => manifestOf(i, content)),
    key,
  );
  const startedMs = performance.now();
  const { leaves, checks } = checkLog(log.lines, log.checkpoint, ringOf(key));
  const chain = checkChain(leaves, log.envelopes, ringOf(key));
  const seconds = (performance.now() - startedMs) / 1000;
  if (worstOf([...checks, ...chain.checks]) !== 'match') throw new Error('the chain does not match');
  return [atMost('manifest.chain_seconds', seconds, 's', TARGET_CHAIN_SECONDS)];
}

/** Leaves written as sealing writes them, only in larger batches; manifests spread evenly among leaves of days. */
async function fillLog(db: Database) {
  const key = newKey();
  const ids: string[] = [];
  const content = contentOf([Buffer.from('ledger\n1\n')]);
  const every = Math.floor(LEAVES / PROOFS);
  let edge: Edge = EMPTY_EDGE;
  await DATABASE_EVIDENCE.openLog(db.em(), ORIGIN);
  for (let from = 0; from < LEAVES; from += BATCH_LEAVES) {
    const leaves: LogLeaf[] = [];
    for (let i = from; i < Math.min(LEAVES, from + BATCH_LEAVES); i++) {
      if (i % every !== 0 || ids.length === PROOFS) {
        leaves.push({ kind: 'period', from: String(i), to: String(i + 1), manifests: 0 });
        continue;
      }
      const manifest = manifestOf(i, content, { manifestId: randomUUID() });
      const envelope = signManifest(manifest, key);
      await DATABASE_EVIDENCE.insertManifest(db.em(), recordOf(manifest, envelope));
      ids.push(manifest.manifestId);
      leaves.push(manifestLeaf(manifest.manifestId, envelope));
    }
    const bodies = leaves.map(leafBytes);
    const appended = appendLeaves(edge, bodies.map(leafHash));
    edge = appended.edge;
    await sql(
      db.em(),
      `insert into trueup.evidence_leaves (log_index, kind, manifest_id, body)
       select $1 + place - 1, kind, manifest_id, body
       from unnest($2::text[], $3::uuid[], $4::bytea[]) with ordinality as leaf (kind, manifest_id, body, place)`,
      [
        from,
        leaves.map(({ kind }) => kind),
        leaves.map((leaf) => (leaf.kind === 'manifest' ? leaf.manifestId : null)),
        bodies,
      ],
    );
    const head = { origin: ORIGIN, size: edge.size, root: rootOf(edge) };
    const note = Buffer.from(signTreeHead(head, key));
    const checkpoint = { ...head, note, keyId: key.keyId, signedAt: new Date() };
    await DATABASE_EVIDENCE.seal(db.em(), { leaves: [], sizeBefore: from, nodes: appended.completed, checkpoint });
  }
  await sql(db.em(), 'analyze trueup.evidence_leaves, trueup.evidence_nodes, trueup.manifests');
  return { ids, keys: ringOf(key) };
}

async function run(command: string, args: readonly string[]) {
  const startedMs = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  let peakMib = 0;
  // The kernel keeps the peak; the last look before the end is near enough to it, for nothing grows at the end.
  const timer = setInterval(() => {
    void readFile(`/proc/${child.pid}/status`, 'utf8').then(
      (status) => (peakMib = Math.max(peakMib, Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024)),
      () => undefined,
    );
  }, RSS_POLL_MS);
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(timer);
  return { code, out, peakMib, seconds: (performance.now() - startedMs) / 1000 };
}
