// Where alerts go: one interface, however a far side wants to be spoken to.
import type { Alert } from '../core/alert.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { slackMessage } from './slack.ts';
import { webhookMessage } from './webhook.ts';

export type ChannelKind = 'slack' | 'webhook';

export interface ChannelTarget {
  /** As alerts and metrics show it. */
  readonly name: string;
  readonly kind: ChannelKind;
  /** A secret: whoever has it can write there. */
  readonly url: string;
  /** `whsec_...`; null: not signed. Slack has no signatures. */
  readonly signingSecret: string | null;
}

export interface Channel {
  readonly name: string;
  readonly kind: ChannelKind;
  /**
   * Resolves when the far side has accepted the message with a 2xx status, and returns it.
   *
   * @throws TrueUpError CHANNEL_FAILED (with retryAfterMs where it was told, and http_status where there was an answer),
   *   SOURCE_ADDRESS_FORBIDDEN; or the signal's reason
   */
  send(alert: Alert, signal: AbortSignal): Promise<number>;
}

/** One POST, as it is: no retries, no redirects, the answer's body unread. */
export interface Poster {
  post(
    url: string,
    body: string,
    options: {
      readonly headers: Readonly<Record<string, string>>;
      readonly what: string;
      readonly signal: AbortSignal;
    },
  ): Promise<{ readonly status: number }>;
}

export interface OutgoingMessage {
  /** JSON, byte for byte as it is signed. */
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function createChannel(target: ChannelTarget, http: Poster, now: () => Date = () => new Date()): Channel {
  const messageOfAlert = (alert: Alert): OutgoingMessage =>
    target.kind === 'slack' ? slackMessage(alert) : webhookMessage(alert, target.signingSecret, now());
  return {
    name: target.name,
    kind: target.kind,
    async send(alert, signal) {
      const { body, headers } = messageOfAlert(alert);
      try {
        const { status } = await http.post(target.url, body, {
          headers: { 'content-type': 'application/json', ...headers },
          what: 'an alert',
          signal,
        });
        return status;
      } catch (error) {
        if (signal.aborted || isTrueUpError(error, 'SOURCE_ADDRESS_FORBIDDEN') || !isTrueUpError(error)) throw error;
        // The client's words name the host, never the path, where these URLs keep their key.
        throw new TrueUpError('CHANNEL_FAILED', messageOf(error), {
          ...error.details,
          fix: `check the ${target.name} channel's URL and what its far side says, then \`trueup alerts replay ${alert.id}\``,
          cause: error,
        });
      }
    },
  };
}
