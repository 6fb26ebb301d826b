// The one spelling of an entry's id: where it stands in its stream, in words that people can read and paste.
import type { Entry } from './entry.ts';

/** `<stream>/<ledger>-<transaction>-<operation>-<leg>-<o|t>`; the last letter is the layer's. */
export function entryIdOf(
  stream: string,
  entry: Pick<Entry, 'ledger' | 'txIndex' | 'opIndex' | 'leg' | 'layer'>,
): string {
  const layer = entry.layer === 'operations' ? 'o' : 't';
  return `${stream}/${entry.ledger}-${entry.txIndex}-${entry.opIndex}-${entry.leg}-${layer}`;
}
