// What every Watch stream of a resource sends: its states, and a heartbeat where there is nothing to say.
import { toTimestamp } from './convert-common.ts';
import { withHeartbeats } from './heartbeat.ts';

interface WatchHead {
  readonly sequence: string;
  readonly eventTime: ReturnType<typeof toTimestamp>;
}

/** @param body the message's own fields. */
export async function* watchMessages<Event extends { readonly sequence: bigint }, Body extends object>(
  events: AsyncIterable<Event>,
  since: bigint | null,
  signal: AbortSignal,
  body: (event: Event) => Body,
): AsyncGenerator<WatchHead & (Body | { readonly heartbeat: true })> {
  let sequence = since ?? 0n;
  for await (const event of withHeartbeats(events, signal)) {
    const head = (): WatchHead => ({ sequence: sequence.toString(), eventTime: toTimestamp(new Date()) });
    if (event === 'heartbeat') {
      yield { ...head(), heartbeat: true };
      continue;
    }
    sequence = event.sequence;
    yield { ...head(), ...body(event) };
  }
}
