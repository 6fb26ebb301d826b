// A body read under a limit, before and after decompression.
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { TrueUpError } from '../../core/errors.ts';

const DECODERS: Readonly<Record<string, (data: Uint8Array, options: { maxOutputLength: number }) => Promise<Buffer>>> =
  {
    gzip: promisify(gunzip),
    'x-gzip': promisify(gunzip),
    deflate: promisify(inflate),
    br: promisify(brotliDecompress),
  };

export interface BoundedBody {
  /** After Content-Encoding was undone. */
  readonly bytes: Uint8Array;
  /** As they came over the wire. */
  readonly bytesRead: number;
}

/**
 * @param encoding the Content-Encoding header
 * @param host for messages
 * @throws TrueUpError SOURCE_ANSWER_TOO_LARGE past `maxBytes` on the wire or decompressed; SOURCE_CORRUPT for bytes that
 *   don't decompress or an encoding that was not asked for
 */
export async function readBoundedBody(
  body: AsyncIterable<Uint8Array>,
  encoding: string | undefined,
  maxBytes: number,
  host: string,
): Promise<BoundedBody> {
  const chunks: Uint8Array[] = [];
  let bytesRead = 0;
  for await (const chunk of body) {
    bytesRead += chunk.length;
    if (bytesRead > maxBytes) throw tooLarge(host, maxBytes);
    chunks.push(chunk);
  }
  const raw = Buffer.concat(chunks, bytesRead);
  const name = encoding?.trim().toLowerCase();
  if (!name || name === 'identity' || raw.length === 0) return { bytes: raw, bytesRead };
  const decode = DECODERS[name];
  if (!decode) {
    throw new TrueUpError(
      'SOURCE_CORRUPT',
      `${host} answered in the content encoding ${JSON.stringify(name.slice(0, 40))}, which was not asked for`,
    );
  }
  try {
    return { bytes: await decode(raw, { maxOutputLength: maxBytes }), bytesRead };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(host, maxBytes);
    throw new TrueUpError('SOURCE_CORRUPT', `${host} answered with ${name} bytes that do not decompress`, {
      cause: error,
    });
  }
}

export function tooLarge(host: string, maxBytes: number): TrueUpError {
  return new TrueUpError('SOURCE_ANSWER_TOO_LARGE', `${host} answered with more than ${maxBytes} bytes`, {
    fix: 'Ask for less at a time, or raise the limit of the answer (maxBodyBytes).',
    metadata: { host },
  });
}
