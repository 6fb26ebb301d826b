// PostgreSQL refuses to run as root: which user runs it instead, and can that user reach what it needs.
import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { TrueUpError } from '../core/errors.ts';

/** Users that commonly exist and own nothing of value, in the order in which they are taken. */
const CANDIDATES = ['postgres', 'nobody'];

export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
  /** True when it isn't the user of this process, so that files must be given to it. */
  readonly switched: boolean;
}

export interface ServerPlaces {
  /** Folder of the cluster, which may not exist yet; its parent does. */
  readonly clusterDir: string;
  readonly serverPackage: string;
}

/** Errors: INVALID_CONFIGURATION with the folder that stands in the way and how to move it out. */
export async function chooseServerUser(places: ServerPlaces): Promise<ServerUser> {
  const own = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };
  const owner = await stat(places.clusterDir).then(
    (found) => ({ uid: found.uid, gid: found.gid }),
    () => undefined,
  );
  if (own.uid !== 0) {
    if (owner !== undefined && owner.uid !== own.uid) {
      throw new TrueUpError(
        'INVALID_CONFIGURATION',
        `${places.clusterDir} belongs to user ${owner.uid} but this process runs as user ${own.uid}; start TrueUp as the user who made it, or give it over with: chown -R ${own.uid} ${dirname(places.clusterDir)}`,
      );
    }
    return { ...own, switched: false };
  }
  // Who owns an existing cluster goes on owning it, also when a better candidate has appeared on the machine.
  const user = owner !== undefined && owner.uid !== 0 ? owner : await firstCandidate();
  for (const [what, path] of [
    ['the data folder', dirname(places.clusterDir)],
    ['the PostgreSQL package', places.serverPackage],
  ] as const) {
    // The data folder itself is ours to open up; only what lies above it can stand in the way.
    const barrier = await findBarrier(what === 'the data folder' ? dirname(resolve(path)) : resolve(path), user);
    if (barrier !== undefined) {
      throw new TrueUpError(
        'INVALID_CONFIGURATION',
        `TrueUp was started as root, so its PostgreSQL runs as user ${user.uid}, and that user can't pass through ${barrier} to ${what} (${path}); put it elsewhere (for the data folder: TRUEUP_DATA_DIR=/var/lib/trueup), or chmod o+x ${barrier}, or start TrueUp as an ordinary user, or set DATABASE_URL`,
      );
    }
  }
  return { ...user, switched: true };
}

/** The topmost folder on the way to `path`, itself included, that the user may not enter. */
export async function findBarrier(path: string, user: { uid: number; gid: number }): Promise<string | undefined> {
  const above = dirname(path);
  const higher = above === path ? undefined : await findBarrier(above, user);
  if (higher !== undefined) return higher;
  const { mode, uid, gid } = await stat(path);
  const mayEnter = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
  return (mode & mayEnter) === 0 ? path : undefined;
}

async function firstCandidate(): Promise<{ uid: number; gid: number }> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'));
  for (const name of CANDIDATES) {
    const [, , uid, gid] = lines.find(([each]) => each === name) ?? [];
    if (uid !== undefined && gid !== undefined && uid !== '0') return { uid: Number(uid), gid: Number(gid) };
  }
  throw new TrueUpError(
    'INVALID_CONFIGURATION',
    `TrueUp was started as root and PostgreSQL can't be; this machine has none of the users ${CANDIDATES.join(', ')} to run it as: start TrueUp as an ordinary user, or set DATABASE_URL`,
  );
}
