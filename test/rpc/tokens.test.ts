// Goal: a token in the file opens what its role allows, from the moment it stands there until the moment it doesn't.
// Method: the file is rewritten under a served port while the checker's clock is moved by hand.
import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { anonymousOnLoopback, createTokensFile, parseTokens, TOKEN_LIMITS } from '../../src/rpc/tokens.ts';
import { grpcClient } from '../_util/clients.ts';
import { startServing, tokenLine } from '../_util/serving.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'trueup-tokens-'));
  path = join(dir, 'tokens');
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('the tokens file', () => {
  it('is read again when it changes: a new token opens, a removed one closes', async () => {
    let now = 0;
    let failures = 0;
    writeFileSync(path, tokenLine('a', 'admin', 'first'));
    const authenticator = createTokensFile({ path, now: () => now, onReloadFailed: () => failures++ });
    await using serving = await startServing({ auth: authenticator });
    const client = grpcClient(serving.grpcPort);
    const knows = async (token: string) =>
      (await client.call(HealthService.method.getDiagnostics, {}, token)).reason !== 'UNAUTHENTICATED';
    expect([await knows('first'), await knows('second')]).toEqual([true, false]);

    writeFileSync(`${path}.new`, `# turned over\n\n${tokenLine('b', 'admin', 'second')}  # until spring\r\n`);
    renameSync(`${path}.new`, path);
    expect([await knows('first'), await knows('second')]).toEqual([true, false]);
    now += TOKEN_LIMITS.reloadCheckMs;
    expect([await knows('first'), await knows('second')]).toEqual([false, true]);

    writeFileSync(path, 'no token line');
    now += TOKEN_LIMITS.reloadCheckMs;
    expect([await knows('second'), failures]).toEqual([true, 1]);
    unlinkSync(path);
    now += TOKEN_LIMITS.reloadCheckMs;
    expect([await knows('second'), failures]).toEqual([true, 2]);

    writeFileSync(path, tokenLine('c', 'read', 'second'));
    now += TOKEN_LIMITS.reloadCheckMs;
    expect(await client.call(HealthService.method.getDiagnostics, {}, 'second')).toMatchObject({
      reason: 'PERMISSION_DENIED',
      metadata: { role: 'admin', have: 'read' },
    });
    expect(serving.handled.at(-1)).toMatchObject({ actor: 'c', code: 'PERMISSION_DENIED' });
    client.close();
  });

  it('names every bad line at once, and never a hash of what was meant', () => {
    const good = tokenLine('ok', 'read', 'x');
    const text = [
      good,
      'a read',
      'b king sha256:' + 'a'.repeat(64),
      'c read md5:abc',
      'anonymous read sha256:' + 'b'.repeat(64),
      good,
      'd read sha256:zz extra',
    ].join('\n');
    expect(() => parseTokens(text, 'F')).toThrow(
      /line 2.*line 3.*role.*line 4.*sha256.*line 5.*taken.*line 6.*same token.*line 7/s,
    );
    expect(() => parseTokens('# nobody\n', 'F')).toThrow(/nobody could call/);
    expect(() => createTokensFile({ path: join(dir, 'absent'), onReloadFailed: () => {} })).toThrow(
      expect.objectContaining({ reason: 'INVALID_CONFIGURATION' }),
    );
  });

  it('takes the token by its whole text and in the header alone', () => {
    writeFileSync(path, tokenLine('a', 'operate', 'secret'));
    const { authenticate } = createTokensFile({ path, onReloadFailed: () => {} });
    expect(authenticate('Bearer secret', '')).toEqual({ name: 'a', role: 'operate' });
    expect(authenticate('bearer   secret ', '')).toEqual({ name: 'a', role: 'operate' });
    for (const header of [
      undefined,
      '',
      'secret',
      'Basic secret',
      'Bearer',
      'Bearer secre',
      'Bearer secret2',
      'Bearer secret secret',
      `Bearer ${'x'.repeat(5_000)}`,
    ]) {
      expect(() => authenticate(header, '127.0.0.1:1'), header).toThrow(
        expect.objectContaining({ reason: 'UNAUTHENTICATED' }),
      );
    }
  });
});

describe('without tokens', () => {
  it('whoever calls from this machine may do everything, and nobody else anything', () => {
    for (const peer of ['127.0.0.1:5', '127.9.9.9:5', '::1:5', '::ffff:127.0.0.1:5', '[::1]:5', '::1']) {
      expect(anonymousOnLoopback.authenticate(undefined, peer)).toEqual({ name: 'anonymous', role: 'admin' });
    }
    for (const peer of [
      '10.0.0.1:5',
      '128.0.0.1:5',
      '::ffff:10.0.0.1:5',
      'fe80::1:5',
      'unknown',
      '',
      '127.0.0.1.evil:5',
      '2001:db8::1:5',
    ]) {
      expect(() => anonymousOnLoopback.authenticate(undefined, peer), peer).toThrow(
        expect.objectContaining({ reason: 'UNAUTHENTICATED' }),
      );
    }
  });
});
