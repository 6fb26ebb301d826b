// Checks a whole log against one checkpoint, and the manifests of a folder against the log: which are missing, doubled, out of order.
import type { KeyRing } from './key-ring.ts';
import { type LogLeaf, readLeaf } from './log-leaf.ts';
import { openManifest, sha256 } from './manifest.ts';
import { appendLeaves, EMPTY_EDGE, leafHash, rootOf } from './merkle.ts';
import { type Check, checkCheckpoint, checkSignature } from './verify.ts';

export interface LogReport {
  readonly checks: readonly Check[];
  /** Leaves in order, once the root vouches for them; empty otherwise. */
  readonly leaves: readonly LogLeaf[];
}

/** @param lines one leaf's bytes each, in order */
export function checkLog(lines: readonly Uint8Array[], checkpoint: Uint8Array | null, keys: KeyRing): LogReport {
  if (checkpoint === null)
    return { leaves: [], checks: [log('unverifiable', 'there is no checkpoint beside the log')] };
  const { head, check } = checkCheckpoint(checkpoint, keys);
  if (head === null) return { leaves: [], checks: [check] };
  if (lines.length < head.size)
    return { leaves: [], checks: [check, log('gap', `${lines.length} of ${head.size} leaves are there`)] };
  const { edge } = appendLeaves(EMPTY_EDGE, lines.map(leafHash));
  const leaves = lines.map(readLeaf);
  if (lines.length > head.size || !rootOf(edge).equals(head.root) || !leaves.every((leaf) => leaf !== undefined))
    return { leaves: [], checks: [check, log('altered', `the leaves don't lead to the root of ${head.size} leaves`)] };
  return { leaves, checks: [check, log('match', `${head.size} leaves lead to the root`)] };
}

export interface ChainReport {
  readonly checks: readonly Check[];
  /** Ids of manifests that the log has and nobody handed in. */
  readonly missing: readonly string[];
  /** Handed in more than once. */
  readonly replayed: readonly string[];
  /** At another place among the others than in the log. */
  readonly moved: readonly string[];
  /** Places, from 0, of envelopes whose bytes the log doesn't have. */
  readonly altered: readonly number[];
}

/** Compares envelopes, in the order handed in, with the manifests of a log that was found whole; each signature is checked. */
export function checkChain(leaves: readonly LogLeaf[], envelopes: readonly Uint8Array[], keys: KeyRing): ChainReport {
  const logged = leaves.flatMap((leaf) => (leaf.kind === 'manifest' ? [leaf] : []));
  const idOf = new Map(logged.map((leaf) => [leaf.envelopeSha256, leaf.manifestId]));
  const ids = envelopes.map((envelope) => idOf.get(sha256(envelope)));
  const seen = new Set<string>();
  const replayed = new Set<string>();
  const order: string[] = [];
  for (const id of ids) {
    if (id === undefined) continue;
    if (seen.has(id)) replayed.add(id);
    else order.push(id);
    seen.add(id);
  }
  const missing = logged.map((leaf) => leaf.manifestId).filter((id) => !seen.has(id));
  // One that came twice has no place of its own, and must not make its neighbours look displaced.
  const expected = logged.map((leaf) => leaf.manifestId).filter((id) => seen.has(id) && !replayed.has(id));
  const moved = order.filter((id) => !replayed.has(id)).filter((id, place) => expected[place] !== id);
  const altered = ids.flatMap((id, place) => (id === undefined ? [place] : []));
  const checks = [
    ...problem('altered', 'not in the log, by place', altered.map(String)),
    ...problem('missing', 'missing', missing),
    ...problem('altered', 'handed in twice', [...replayed]),
    ...problem('altered', 'out of order', moved),
    ...envelopes.flatMap((envelope, place) => (ids[place] === undefined ? [] : signatureProblem(envelope, keys))),
  ];
  if (checks.length === 0)
    checks.push(manifests(logged.length === 0 ? 'empty' : 'match', `${logged.length} manifests`));
  return { checks, missing, replayed: [...replayed], moved, altered };
}

/** A signature that holds isn't worth a line; the log may have been signed over one that doesn't. */
function signatureProblem(envelope: Uint8Array, keys: KeyRing): Check[] {
  const opened = openManifest(envelope);
  if (opened === undefined) return [manifests('altered', 'a logged envelope is no manifest in canonical form')];
  const check = checkSignature(opened, keys);
  return check.outcome === 'match' ? [] : [{ ...check, message: `${opened.manifest.manifestId}: ${check.message}` }];
}

/** Names are what an auditor asks for, so all are said, however many. */
function problem(outcome: Check['outcome'], what: string, which: readonly string[]): Check[] {
  return which.length === 0 ? [] : [manifests(outcome, `${which.length} ${what}: ${which.join(', ')}`)];
}

function manifests(outcome: Check['outcome'], message: string): Check {
  return { name: 'manifests', outcome, message };
}

function log(outcome: Check['outcome'], message: string): Check {
  return { name: 'log', outcome, message };
}
