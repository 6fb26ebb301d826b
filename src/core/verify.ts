// Checks evidence, from bytes alone: the same rules for the service's own answer and for an auditor without a server.
//
// Each check ends in an outcome; the whole ends in the worst of them. A check that can't be made is never a pass.
import { readProof } from './inclusion-proof.ts';
import { type KeyRing, objectionTo, type RingKey } from './key-ring.ts';
import { readTreeHead, type SignedTreeHead } from './log-checkpoint.ts';
import { leafBytes, manifestLeaf } from './log-leaf.ts';
import { type Manifest, openManifest, type OpenedManifest, PAYLOAD_TYPE, partName } from './manifest.ts';
import { preAuthEncoding } from './dsse.ts';
import { leafHash, verifyInclusion } from './merkle.ts';
import { noteKeyHash } from './signed-note.ts';

/** Worst first: what was tampered with outranks what can't be told. */
export const OUTCOMES = ['altered', 'unknown_key', 'missing', 'gap', 'empty', 'unverifiable', 'match'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export type CheckName =
  'checksum' | 'artifact' | 'statement' | 'signature' | 'inclusion' | 'checkpoint' | 'coverage' | 'log' | 'manifests';

export interface Check {
  readonly name: CheckName;
  readonly outcome: Outcome;
  /** What was compared with what; never a row of the data. */
  readonly message: string;
}

export interface LoggedEvidence {
  /** The envelope's bytes. */
  readonly envelope: Uint8Array;
  /** Null: there is none (yet). */
  readonly checkpoint: Uint8Array | null;
  readonly proof: Uint8Array | null;
}

/** What is on a disk where a part should be. */
export interface FoundPart {
  /** Null: no file of that name, and none with those bytes. */
  readonly sha256: string | null;
  readonly sizeBytes: number;
}

export function worstOf(checks: readonly Pick<Check, 'outcome'>[]): Outcome {
  return OUTCOMES.find((outcome) => checks.some((check) => check.outcome === outcome)) ?? 'unverifiable';
}

/** Statement, signature, inclusion, checkpoint and coverage; the artifact's bytes are `checkParts`'. */
export function checkEvidence(
  evidence: LoggedEvidence,
  keys: KeyRing,
): { opened: OpenedManifest | null; checks: Check[] } {
  const opened = openManifest(evidence.envelope) ?? null;
  const checks: Check[] = [
    opened === null
      ? check('statement', 'altered', 'the envelope is no manifest in canonical form')
      : check('statement', 'match', `manifest ${opened.manifest.manifestId}, ${opened.statement.length} bytes`),
  ];
  if (opened !== null) checks.push(checkSignature(opened, keys));
  checks.push(...checkLogged(evidence, opened, keys));
  if (opened !== null) checks.push(...checkCompleteness(opened.manifest));
  return { opened, checks };
}

export function checkParts(manifest: Manifest, found: readonly FoundPart[]): Check[] {
  return manifest.content.parts.map((_, index) => checkPart(manifest, index, found[index]));
}

export function checkPart(manifest: Manifest, index: number, found: FoundPart | undefined): Check {
  return checkBytes(partName(manifest, index), manifest.content.parts[index]!, found);
}

/** An artifact of several parts in one file, as it is downloaded. */
export function checkWhole({ fileName, content }: Manifest, found: FoundPart): Check {
  return checkBytes(fileName, content, found);
}

function checkBytes(
  name: string,
  signed: { readonly sizeBytes: number; readonly sha256: string },
  { sha256, sizeBytes }: FoundPart = { sha256: null, sizeBytes: 0 },
): Check {
  if (sha256 === null)
    return check('artifact', 'missing', `${name}: no file with ${signed.sizeBytes} bytes and SHA-256 ${signed.sha256}`);
  if (sha256 === signed.sha256 && sizeBytes === signed.sizeBytes)
    return check('artifact', 'match', `${name}: ${sizeBytes} bytes, SHA-256 ${sha256}`);
  return check(
    'artifact',
    'altered',
    `${name}: ${sizeBytes} bytes with SHA-256 ${sha256}; signed were ${signed.sizeBytes} bytes with ${signed.sha256}`,
  );
}

/** A checkpoint alone: who signed it. */
export function checkCheckpoint(bytes: Uint8Array, keys: KeyRing): { head: SignedTreeHead | null; check: Check } {
  const head = readTreeHead(bytes) ?? null;
  const [signature, ...more] = head?.note.signatures ?? [];
  if (head === null || signature === undefined || more.length > 0)
    return { head: null, check: check('checkpoint', 'altered', 'it is no checkpoint with one signature') };
  const text = Buffer.from(head.note.text);
  const named = [...keys.values()].find((key) => noteKeyHash(head.origin, key) === signature.keyHash);
  const signer = [...keys.values()].find((key) => key.verify(text, signature.signature));
  const outcome = judge(named, signer, null, signature.name === head.origin);
  const message = wordsFor(outcome, `${head.origin}, ${head.size} leaves`, signer, `key hash ${signature.keyHash}`);
  return { head, check: check('checkpoint', outcome, message) };
}

export function checkSignature({ envelope, manifest }: OpenedManifest, keys: KeyRing): Check {
  const message = preAuthEncoding(PAYLOAD_TYPE, envelope.payload);
  const named = keys.get(envelope.keyId);
  const isBy = (key: RingKey | undefined): boolean => key?.verify(message, envelope.signature) ?? false;
  const signer = isBy(named) ? named : [...keys.values()].find(isBy);
  const outcome = judge(named, signer, new Date(manifest.generatedAt), true);
  return check('signature', outcome, wordsFor(outcome, 'the manifest', signer, `key ${envelope.keyId}`));
}

/** A signature by a key we know that names another key was tampered with; one by nobody we know is by somebody unknown. */
function judge(named: RingKey | undefined, signer: RingKey | undefined, at: Date | null, wellNamed: boolean): Outcome {
  if (!wellNamed || named !== signer) return 'altered';
  if (signer === undefined) return 'unknown_key';
  return objectionTo(signer, at) === null ? 'match' : 'unknown_key';
}

function wordsFor(outcome: Outcome, what: string, signer: RingKey | undefined, claimed: string): string {
  if (outcome === 'match') return `${what}, signed with key ${signer!.keyId}`;
  if (outcome === 'altered') return `${what}: the signature isn't that of ${claimed} over these bytes`;
  if (signer === undefined) return `${what}: signed with ${claimed}, which is none of the known keys`;
  return `${what}: ${objectionTo(signer, null) ?? `${signer.keyId} was no longer in use`}`;
}

function checkLogged(
  { envelope, checkpoint, proof }: LoggedEvidence,
  opened: OpenedManifest | null,
  keys: KeyRing,
): Check[] {
  const checks: Check[] = [];
  const head = checkpoint === null ? null : checkCheckpoint(checkpoint, keys);
  const claim = proof === null ? null : readProof(proof);
  if (claim === null)
    checks.push(check('inclusion', 'unverifiable', 'there is no proof; the log is sealed in intervals'));
  else if (claim === undefined) checks.push(check('inclusion', 'altered', 'the proof is not one in canonical form'));
  else if (head !== null && head.head !== null) checks.push(checkInclusion(claim, head.head, envelope, opened));
  else checks.push(check('inclusion', 'unverifiable', 'there is no checkpoint to lead to'));
  checks.push(
    head?.check ?? check('checkpoint', 'unverifiable', 'there is no checkpoint; the log is sealed in intervals'),
  );
  return checks;
}

function checkInclusion(
  claim: NonNullable<ReturnType<typeof readProof>>,
  head: SignedTreeHead,
  envelope: Uint8Array,
  opened: OpenedManifest | null,
): Check {
  const leaf = leafHash(leafBytes(manifestLeaf(opened?.manifest.manifestId ?? '', envelope)));
  const included =
    opened !== null &&
    claim.size === head.size &&
    claim.leaf.equals(leaf) &&
    verifyInclusion({ ...claim, root: head.root });
  return included
    ? check('inclusion', 'match', `leaf ${claim.index} of ${claim.size}`)
    : check('inclusion', 'altered', `the proof doesn't lead from this manifest to the root of ${head.size} leaves`);
}

function checkCompleteness({ content }: Manifest): Check[] {
  const checks = content.coverage.map(({ stream, layer, fromLedger, toLedger, complete, missing }) => {
    const range = `${stream} ${layer} ${fromLedger}-${toLedger}`;
    if (complete) return check('coverage', 'match', `${range} covered`);
    const first = missing.slice(0, 3).map((each) => `${each.fromLedger}-${each.toLedger}`);
    return check('coverage', 'gap', `${range} has gaps: ${first.join(', ')}${missing.length > 3 ? ', ...' : ''}`);
  });
  if (content.rowCount === 0) checks.push(check('coverage', 'empty', 'the artifact has no row'));
  return checks;
}

function check(name: CheckName, outcome: Outcome, message: string): Check {
  return { name, outcome, message };
}
