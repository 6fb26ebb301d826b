// Slack's incoming webhooks, and what takes the same JSON: Mattermost, Rocket.Chat, Discord's /slack.
import { alertBody, type Alert } from '../core/alert.ts';
import type { OutgoingMessage } from './channel.ts';

/** Slack cuts a text off at some thousands; the title comes first. */
const MAX_TEXT_CHARS = 3_000;
const SIGNS = { page: ':rotating_light:', ticket: ':warning:', info: ':white_check_mark:' } as const;

export function slackMessage(alert: Alert): OutgoingMessage {
  const text = `${SIGNS[alert.severity]} *${escaped(alert.title)}*\n${escaped(alertBody(alert))}\n_${alert.id}_`;
  return {
    body: JSON.stringify({ text: text.length <= MAX_TEXT_CHARS ? text : `${text.slice(0, MAX_TEXT_CHARS - 1)}…` }),
    headers: {},
  };
}

/** Its three control characters, so that a key of a book can't ping a channel. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
