// Goal: from an export in the running service to an auditor's folder, nothing in between has to be believed. Method: the whole service on its
// sandbox, the real command against it, both verifiers on what they wrote, and a byte changed on the service's own disk.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { type RunningApp, soon, startApp } from '../_util/app.ts';
import { jsonLines, terminal, trueup } from '../cli/terminal.ts';

const SCRIPT = fileURLToPath(new URL('../../docs/verify-evidence.sh', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'trueup-evidence-'));
const dataDir = join(folder, 'data');
let app: RunningApp;
let manifestId: string;

beforeAll(async () => {
  app = await startApp({ TRUEUP_DATA_DIR: dataDir, TRUEUP_SEAL_INTERVAL: '1' });
  await soon(async () => {
    const { entries } = await app.client.reconciliation.listEntries({ pageSize: 1 });
    expect(entries).not.toEqual([]);
  }, 60_000);
  const started = await app.client.manifest.startExport({
    ...{ kind: contract.ExportKind.ENTRIES, format: contract.ExportFormat.CSV, fileName: 'audit.csv' },
  });
  await soon(async () => {
    const { export: job } = await app.client.manifest.getExport({ exportId: started.export!.id });
    expect(job!.state).toBe(contract.ExportState.COMPLETED);
    manifestId = job!.manifestId;
  }, 60_000);
}, 180_000);
afterAll(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (...args: string[]) => trueup([...args, '--server', app.grpc], terminal());

describe('evidence of a running service', () => {
  it('is listed with its requester and total, and says that it is the sandbox', async () => {
    const { manifests, totalSize } = await app.client.manifest.listManifests({});
    expect(totalSize).toBe(1n);
    expect(manifests[0]).toMatchObject({ id: manifestId, fileName: 'audit.csv', sandbox: true });
    expect(manifests[0]!.envelope).toHaveLength(0);
    const { manifests: none } = await app.client.manifest.listManifests({ requester: 'somebody else' });
    expect(none).toEqual([]);
    expect((await ask('manifests', 'list')).out).toContain(manifestId);
    expect(app.log()).toContain('DEVELOPMENT key');
  });

  it('goes into a folder that both verifiers match, and neither does once a byte is another', async () => {
    const bundle = join(folder, 'bundle');
    const written = await ask('manifests', 'bundle', manifestId, bundle, '--json');
    expect([written.code, written.err]).toEqual([0, '']);
    const chunks: Uint8Array[] = [];
    const { manifest } = await app.client.manifest.getManifest({ manifestId });
    for await (const { chunk } of app.client.manifest.downloadArtifact({ artifactId: manifest!.artifact!.id }))
      chunks.push(chunk);
    writeFileSync(join(bundle, 'audit.csv'), Buffer.concat(chunks));
    const { publicKeyPem } = await app.client.manifest.getCheckpoint({});
    const key = join(folder, 'key.pem');
    writeFileSync(key, publicKeyPem);
    const verdicts = async () => {
      const { code, out } = await trueup(['verify', bundle, '--key', key, '--json'], terminal());
      const shell = spawnSync('sh', [SCRIPT, bundle, key], { encoding: 'utf8' });
      return [code, jsonLines(out).at(-1)!['outcome'], shell.status, shell.stdout.trim().split('\n').at(-1)];
    };
    expect(await verdicts()).toEqual([0, 'match', 0, 'match']);
    const bytes = readFileSync(join(bundle, 'audit.csv'));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(join(bundle, 'audit.csv'), bytes);
    expect(await verdicts()).toEqual([10, 'altered', 10, 'altered']);
  });

  it('is held and released by name, and each is audited', async () => {
    const placed = await ask('manifests', 'hold', manifestId, '--reason', 'case 7', '--json');
    const [hold] = jsonLines(placed.out) as { id: string }[];
    const { manifest } = await app.client.manifest.getManifest({ manifestId });
    expect(manifest!.holds).toMatchObject([{ id: hold!.id, reason: 'case 7' }]);
    expect((await ask('manifests', 'release', hold!.id, '--reason', 'closed')).code).toBe(0);
    const audit = await app.client.health.listAuditEntries({ resourceId: manifestId });
    expect(audit.auditEntries.map(({ reason }) => reason)).toEqual(['closed', 'case 7']);
  });

  it('is verified against the bytes on the disk, every time', async () => {
    const verify = async () => await app.client.manifest.verifyManifest({ manifestId });
    await soon(async () => expect((await verify()).verdict).toBe(contract.ManifestVerdict.MATCH), 30_000);
    const artifacts = join(dataDir, 'artifacts');
    const [artifact] = readdirSync(artifacts);
    const path = join(artifacts, artifact!, readdirSync(join(artifacts, artifact!))[0]!);
    const bytes = readFileSync(path);
    bytes[7]! ^= 1;
    writeFileSync(path, bytes);
    const { verdict, checks } = await verify();
    expect(verdict).toBe(contract.ManifestVerdict.MISMATCH);
    expect(checks.find((check) => check.state === contract.CheckState.FAILED)?.name).toBe('artifact');
  });
});
