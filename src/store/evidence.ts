// One interface for evidence, kept in the database or, where somebody asked for that, in memory only.
//
// Every call takes `em` first and belongs to its transaction; the store in memory shows what was written once that commits.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Hold, LogCheckpoint, ManifestFilter, ManifestRecord } from '../core/evidence.ts';
import type { LeafKind, LogLeaf, PruneCause } from '../core/log-leaf.ts';
import type { Edge, Hash, Node, NodeId } from '../core/merkle.ts';
import type { Page, PageRequest } from '../core/page.ts';

export interface HoldToPlace {
  readonly id: string;
  readonly manifestId: string;
  readonly reason: string;
  readonly placedBy: string;
  readonly requestId: string | null;
}

export interface HoldRelease {
  readonly releasedBy: string;
  readonly releaseReason: string;
  readonly requestId: string | null;
}

/** What a request did before, to answer its repetition. */
export interface RequestedHold extends Hold {
  readonly requestId: string | null;
  readonly releaseRequestId: string | null;
}

export interface PendingLeaf {
  readonly id: string;
  readonly body: Buffer;
}

export interface LogState {
  /** Name of the log. */
  readonly origin: string;
  /** Days before this have their leaf. */
  readonly countedThrough: Date;
  /** The store's clock. */
  readonly now: Date;
}

export interface Seal {
  /** In log order, from the size of the tree before. */
  readonly leaves: readonly PendingLeaf[];
  readonly sizeBefore: number;
  /** Subtrees that became complete. */
  readonly nodes: readonly Node[];
  readonly checkpoint: Omit<LogCheckpoint, 'origin'>;
}

export interface RetentionRule {
  /** Newest manifests whose artifacts stay. */
  readonly keepCount: number;
  /** Artifacts of manifests made before this go; null: none for their age. */
  readonly before: Date | null;
}

export interface EvidenceStore {
  /** `memory`: everything is lost when the process ends. */
  readonly kind: 'database' | 'memory';

  insertManifest(em: EntityManager, record: ManifestRecord): Promise<void>;
  findManifest(em: EntityManager, id: string): Promise<ManifestRecord | null>;
  findArtifact(em: EntityManager, artifactId: string): Promise<ManifestRecord | null>;
  /** Newest first, with the total. */
  listManifests(em: EntityManager, filter: ManifestFilter, page: PageRequest): Promise<Page<ManifestRecord>>;
  /** How many were generated in [from, to). */
  countManifests(em: EntityManager, from: Date, to: Date): Promise<number>;

  /** False where there is no such manifest or its artifact is gone: then nothing is left to hold. */
  placeHold(em: EntityManager, hold: HoldToPlace): Promise<boolean>;
  /** False where the hold isn't in force. */
  releaseHold(em: EntityManager, id: string, release: HoldRelease): Promise<boolean>;
  findHold(em: EntityManager, id: string): Promise<RequestedHold | null>;
  /** The hold that this request placed or released. */
  findHoldByRequest(em: EntityManager, requestId: string): Promise<RequestedHold | null>;
  /** Those in force. */
  holdsOf(em: EntityManager, manifestIds: readonly string[]): Promise<Hold[]>;

  /** Marks artifacts that the rule no longer keeps and nothing holds, at most `limit`, oldest first. */
  prune(
    em: EntityManager,
    rule: RetentionRule,
    limit: number,
  ): Promise<(ManifestRecord & { readonly cause: PruneCause })[]>;
  /** Artifacts that are marked and whose bytes are perhaps still there, at most `limit`. */
  toRemove(em: EntityManager, limit: number): Promise<{ readonly id: string; readonly artifactId: string }[]>;
  markRemoved(em: EntityManager, ids: readonly string[]): Promise<void>;

  append(em: EntityManager, leaf: LogLeaf): Promise<void>;
  /** Begins the log if there is none, under the name given. */
  openLog(em: EntityManager, origin: string): Promise<void>;
  /** The right to seal, until the transaction ends; null while another has it. */
  claimLog(em: EntityManager, how: 'wait' | 'try'): Promise<LogState | null>;
  saveCountedThrough(em: EntityManager, through: Date): Promise<void>;
  pendingLeaves(em: EntityManager, limit: number): Promise<PendingLeaf[]>;
  edge(em: EntityManager): Promise<Edge>;
  seal(em: EntityManager, seal: Seal): Promise<void>;

  /** The checkpoint of a size, or the newest; null: there is none. */
  findCheckpoint(em: EntityManager, size: number | null): Promise<LogCheckpoint | null>;
  /** Hashes of stored nodes, in the order asked for. */
  readNodes(em: EntityManager, nodes: readonly NodeId[]): Promise<Hash[]>;
  /** Places of manifests that are sealed. */
  placesOf(em: EntityManager, manifestIds: readonly string[]): Promise<Map<string, { index: number; leaf: Hash }>>;
  /** Sealed leaves [from, to). */
  readLeaves(em: EntityManager, from: number, to: number): Promise<Buffer[]>;
  leavesOfKind(em: EntityManager, kind: LeafKind): Promise<Buffer[]>;
}
