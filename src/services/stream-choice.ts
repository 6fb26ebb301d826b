// Which stream a question is about: the one named, or the one that this deployment follows.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { currentStream, listStreams, type Stream } from '../store/streams.ts';

/**
 * @param networkPassphrase of the source that is configured; null asks for the newest stream.
 * @throws TrueUpError STREAM_NOT_FOUND: no stream has that name, or the source has never answered and none is open yet.
 */
export async function chooseStream(
  em: EntityManager,
  name: string | null,
  networkPassphrase: string | null,
): Promise<Stream> {
  if (name !== null && name !== '') {
    const named = (await listStreams(em)).find((stream) => stream.name === name);
    if (named) return named;
    throw new TrueUpError('STREAM_NOT_FOUND', `there is no stream ${JSON.stringify(name)}`, {
      fix: 'GetStatus lists the streams that there are',
    });
  }
  const followed =
    networkPassphrase === null ? (await listStreams(em)).at(-1) : await currentStream(em, networkPassphrase);
  if (followed) return followed;
  throw new TrueUpError(
    'STREAM_NOT_FOUND',
    'no stream is open yet: the source has not answered since the first start',
    {
      fix: 'look at GetStatus for why the source fails; the stream opens by itself with its first answer',
    },
  );
}

/** Kind and name of a source from the label under which its rows name it: `kind:name`. */
export function provenanceOf(label: string, readAt: Date | null) {
  const colon = label.indexOf(':');
  return { source: label, kind: colon < 0 ? label : label.slice(0, colon), readAt };
}
