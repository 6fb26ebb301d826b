// Goal: no bit of evidence can change unnoticed, and what is noticed is named for what it is. Method: flip a bit at every offset of every
// file; delete, repeat and swap manifests at random; keys that are unknown, over or revoked.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { contentOf, logOf, manifestOf, newKey, ringOf } from '../../test/_util/evidence-samples.ts';
import { inUse, keyRing } from './key-ring.ts';
import { leafBytes } from './log-leaf.ts';
import { openManifest, signManifest } from './manifest.ts';
import { preAuthEncoding, signEnvelope } from './dsse.ts';
import { checkEvidence, checkParts, type LoggedEvidence, worstOf } from './verify.ts';
import { checkChain, checkLog } from './verify-log.ts';

const key = newKey();
const keys = ringOf(key, newKey());
const part = Buffer.from('ledger\n1\n2\n3\n');
const manifests = Array.from({ length: 5 }, (_, i) => manifestOf(i, contentOf([part])));
const log = logOf(manifests, key);
const evidence: LoggedEvidence = { envelope: log.envelopes[2]!, checkpoint: log.checkpoint, proof: log.proof(2) };
const outcomeOf = (changed: Partial<LoggedEvidence>, ring = keys) =>
  worstOf(checkEvidence({ ...evidence, ...changed }, ring).checks);

function* flips(bytes: Buffer): Generator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset++) {
    const flipped = Buffer.from(bytes);
    flipped[offset]! ^= 1 << (offset % 8);
    yield flipped;
  }
}

describe('a flipped bit', () => {
  it('is the only thing that keeps this evidence from matching', () => {
    expect(checkEvidence(evidence, keys).checks.map(({ name, outcome }) => [name, outcome])).toEqual([
      ['statement', 'match'],
      ['signature', 'match'],
      ['inclusion', 'match'],
      ['checkpoint', 'match'],
      ['coverage', 'match'],
    ]);
  });

  it.each(['envelope', 'checkpoint', 'proof'] as const)('at any offset of the %s is found as altered', (file) => {
    const bytes = Buffer.from(evidence[file]!);
    const missed = [...flips(bytes)].flatMap((flipped, offset) => {
      const outcome = outcomeOf({ [file]: flipped });
      return outcome === 'altered' || (outcome === 'unknown_key' && isOfBoth(file, bytes, offset)) ? [] : [offset];
    });
    expect(missed).toEqual([]);
  });

  /** The one character of a checkpoint whose six bits are two of the key's hash and four of the signature: with both changed, it is as if
   *  somebody unknown had signed. */
  const isOfBoth = (file: string, bytes: Buffer, offset: number): boolean =>
    file === 'checkpoint' && offset === bytes.lastIndexOf(' ') + 1 + Math.floor((4 * 8) / 6);

  it('at any offset of the manifest inside the envelope is found as altered', () => {
    const { statement, envelope } = openManifest(evidence.envelope)!;
    const missed = [...flips(statement)].flatMap((flipped, offset) => {
      const forged = Buffer.from(
        JSON.stringify({
          payload: flipped.toString('base64'),
          payloadType: envelope.payloadType,
          signatures: [{ keyid: envelope.keyId, sig: envelope.signature.toString('base64') }],
        }),
      );
      return outcomeOf({ envelope: forged }) === 'altered' ? [] : [offset];
    });
    expect(missed).toEqual([]);
  });

  it('at any offset of an artifact of 64 KiB is found as altered', () => {
    const artifact = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7 + (i >> 8)) & 255));
    const manifest = manifestOf(9, contentOf([artifact]));
    const hashOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    const outcome = (sha256: string) => worstOf(checkParts(manifest, [{ sha256, sizeBytes: artifact.length }]));
    expect(outcome(hashOf(artifact))).toBe('match');
    let missed = 0;
    // What is before the flipped byte is hashed once, so that the test costs half.
    const before = createHash('sha256');
    for (let offset = 0; offset < artifact.length; offset++) {
      const rest = Buffer.from(artifact.subarray(offset));
      rest[0]! ^= 1 << (offset % 8);
      if (outcome(before.copy().update(rest).digest('hex')) !== 'altered') missed++;
      before.update(artifact.subarray(offset, offset + 1));
    }
    expect(missed).toBe(0);
  });
});

describe('what a signature is worth', () => {
  it('is nothing by a key that nobody knows, whoever it says it is', () => {
    expect(outcomeOf({}, ringOf(newKey()))).toBe('unknown_key');
    const stranger = newKey();
    const forged = logOf(manifests, { ...stranger, keyId: key.keyId });
    const all = { envelope: forged.envelopes[2]!, checkpoint: forged.checkpoint, proof: forged.proof(2) };
    expect(outcomeOf(all)).toBe('altered');
    expect(outcomeOf({ envelope: signManifest(manifests[2]!, stranger) })).toBe('altered');
  });

  it('ends with the key: later than its last day, or once it is revoked', () => {
    const ring = (more: object) => keyRing([{ ...inUse(key), ...more }]);
    expect(outcomeOf({}, ring({ notAfter: new Date('2026-11-30T12:00:00Z') }))).toBe('match');
    expect(outcomeOf({}, ring({ notAfter: new Date('2026-11-30T11:59:59Z') }))).toBe('unknown_key');
    expect(outcomeOf({}, ring({ revokedAt: new Date('2027-01-01T00:00:00Z') }))).toBe('unknown_key');
  });

  it('covers the whole statement: one that says other subjects than its predicate is refused though it is signed', () => {
    const { statement } = openManifest(evidence.envelope)!;
    const other = Buffer.from(statement.toString().replace('"subject":[{', '"subject":[{"digest":{},"name":"x"},{'));
    expect(key.verify(preAuthEncoding('a', other), key.sign(preAuthEncoding('a', other)))).toBe(true);
    expect(openManifest(signEnvelope('application/vnd.in-toto+json', other, key))).toBeUndefined();
  });
});

describe('what is not there', () => {
  it('is unverifiable without a checkpoint or proof, and a gap or empty where the manifest says so', () => {
    expect(outcomeOf({ proof: null })).toBe('unverifiable');
    expect(outcomeOf({ checkpoint: null })).toBe('unverifiable');
    const [coverage] = contentOf([part]).coverage;
    const gap = { ...coverage!, complete: false, missing: [{ fromLedger: 3, toLedger: 4 }], digest: null };
    const wanting = [
      manifestOf(7, contentOf([part], { coverage: [gap] })),
      manifestOf(8, contentOf([part], { rowCount: 0 })),
    ];
    const other = logOf(wanting, key);
    const outcome = (i: number) =>
      outcomeOf({ envelope: other.envelopes[i]!, checkpoint: other.checkpoint, proof: other.proof(i) });
    expect([outcome(0), outcome(1)]).toEqual(['gap', 'empty']);
  });

  it('is missing where an artifact has no file, and altered where one has other bytes', () => {
    const manifest = manifestOf(1, contentOf([part, Buffer.from('more')]));
    const whole = manifest.content.parts.map((each) => ({ ...each }));
    expect(checkParts(manifest, whole).map(({ outcome }) => outcome)).toEqual(['match', 'match']);
    expect(checkParts(manifest, [whole[0]!]).map(({ outcome }) => outcome)).toEqual(['match', 'missing']);
    expect(checkParts(manifest, [whole[1]!, whole[1]!]).map(({ outcome }) => outcome)).toEqual(['altered', 'match']);
  });
});

describe('a log', () => {
  const many = Array.from({ length: 40 }, (_, i) => manifestOf(i, contentOf([part])));
  const period = { kind: 'period', from: '2026-11-29', to: '2026-11-30', manifests: 0 } as const;
  const whole = logOf(many, key, (place) => (place % 3 === 0 ? [period] : []));
  const idAt = (place: number) => many[place]!.manifestId;
  const byNumber = (a: number, b: number) => a - b;

  it('is whole, or its leaves are missing or altered', () => {
    const outcome = (lines: readonly Buffer[]) => worstOf(checkLog(lines, whole.checkpoint, keys).checks);
    expect(outcome(whole.lines)).toBe('match');
    expect(outcome(whole.lines.slice(1))).toBe('gap');
    expect(outcome([...whole.lines, leafBytes(period)])).toBe('altered');
    expect(outcome([whole.lines[1]!, whole.lines[0]!, ...whole.lines.slice(2)])).toBe('altered');
    expect(worstOf(checkLog(whole.lines, null, keys).checks)).toBe('unverifiable');
  });

  it('names exactly the manifests that were deleted, replayed or put in other places, 1 to 10 of them', () => {
    const { leaves } = checkLog(whole.lines, whole.checkpoint, keys);
    expect(checkChain(leaves, whole.envelopes, keys).checks.map(({ outcome }) => outcome)).toEqual(['match']);
    const places = fc.uniqueArray(fc.nat(many.length - 1), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(places, places, fc.constantFrom('delete', 'replay', 'reorder'), (chosen, elsewhere, how) => {
        const ids = chosen.toSorted(byNumber).map(idAt);
        const envelopes = [...whole.envelopes];
        if (how === 'delete') {
          const left = envelopes.filter((_, place) => !chosen.includes(place));
          const report = checkChain(leaves, left, keys);
          expect(report).toMatchObject({ missing: ids, replayed: [], moved: [], altered: [] });
          expect(worstOf(report.checks)).toBe('missing');
        } else if (how === 'replay') {
          chosen.forEach((place, i) => envelopes.splice(elsewhere[i % elsewhere.length]!, 0, whole.envelopes[place]!));
          const report = checkChain(leaves, envelopes, keys);
          expect(report).toMatchObject({ missing: [], moved: [], altered: [] });
          expect(report.replayed.toSorted()).toEqual(ids);
          expect(worstOf(report.checks)).toBe('altered');
        } else if (chosen.length > 1) {
          // Each goes to the next one's place, so none stays where it was.
          chosen.forEach((place, i) => (envelopes[chosen[(i + 1) % chosen.length]!] = whole.envelopes[place]!));
          const report = checkChain(leaves, envelopes, keys);
          expect(report).toMatchObject({ missing: [], replayed: [], altered: [] });
          expect(report.moved.toSorted()).toEqual(ids);
          expect(worstOf(report.checks)).toBe('altered');
        }
      }),
      cases(60),
    );
  });

  it('finds a manifest that was never logged, and one whose signer is unknown', () => {
    const { leaves } = checkLog(whole.lines, whole.checkpoint, keys);
    const foreign = signManifest(manifestOf(99, contentOf([part])), key);
    const report = checkChain(leaves, whole.envelopes.with(4, foreign), keys);
    expect(report).toMatchObject({ altered: [4], missing: [idAt(4)] });
    expect(worstOf(checkChain(leaves, whole.envelopes, ringOf(newKey())).checks)).toBe('unknown_key');
  });
});
