// Every text that must not appear in a log line, given to the logger so that it can blank them out by value.
import type { Secrets } from './config.ts';

/** Shortest text that is blanked out by value; anything shorter would blank out innocent words. */
const minSecretChars = 6;
/** From this length on a path segment of a URL is taken for a key, as providers and webhooks put theirs there. */
const minPathKeyChars = 16;

const SECRET_PARAMETER = /key|token|secret|pass|sig|auth/i;

/** Whole URLs of databases and webhooks, and of every URL its password, query values and keys in the path. */
export function secretValues(secrets: Secrets): string[] {
  const found = new Set<string>();
  const whole = [
    secrets.databaseUrl,
    secrets.bookUrl,
    secrets.marketplaceUrl,
    secrets.alertWebhookUrl,
    ...Object.values(secrets.sideUrls),
  ];
  for (const url of [...whole, secrets.sourceUrl, ...Object.values(secrets.otherSourceUrls).flat()]) {
    if (url !== null) for (const part of secretParts(url)) found.add(part);
  }
  for (const url of [...whole, secrets.alertWebhookSecret]) if (url !== null) found.add(url);
  for (const url of whole) if (url !== null) found.add(url);
  // A key may be quoted whole or by its one line of base64.
  for (const line of secrets.signingKeyPem?.split('\n') ?? []) if (!line.startsWith('-----')) found.add(line);
  return [...found].filter((text) => text.length >= minSecretChars);
}

function secretParts(url: string): string[] {
  const parsed = URL.parse(url);
  if (parsed === null) return [url];
  const parts = [parsed.password, decode(parsed.password)];
  // `sslmode=require` is no secret, and blanking `require` would spoil innocent lines.
  for (const [name, value] of parsed.searchParams) {
    if (SECRET_PARAMETER.test(name) || value.length >= minPathKeyChars) parts.push(value, encodeURIComponent(value));
  }
  if (parsed.protocol !== 'file:' && !parsed.protocol.startsWith('postgres')) {
    parts.push(...parsed.pathname.split('/').filter((segment) => segment.length >= minPathKeyChars));
  }
  return parts;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
