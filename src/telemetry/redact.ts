// Secrets are taken out of the finished line, so that no nested object, stack or cause can carry one past.

const CENSOR = '[redacted]';

/** Fields whose value is dropped whatever it holds, down to `maxRedactedDepth` objects deep. */
const SECRET_FIELDS = [
  'authorization',
  'cookie',
  'password',
  'passwd',
  'secret',
  'token',
  'apiKey',
  'api_key',
  'connectionString',
  'databaseUrl',
  'bookUrl',
  'sourceUrl',
  'alertWebhookUrl',
  'secrets',
  'privateKey',
];
const maxRedactedDepth = 4;

/** `scheme://user:password@`: the user goes as well, some providers put their key there. Quotes and backslashes end it, so JSON stays JSON. */
const URL_USERINFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/?#@"'\\]+@/gi;
const AUTH_SCHEME = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}/gi;
const STELLAR_SEED = /\bS[A-Z2-7]{55}\b/g;

export const redactPaths: { paths: string[]; censor: string } = {
  paths: SECRET_FIELDS.flatMap((field) =>
    Array.from({ length: maxRedactedDepth }, (_, depth) => '*.'.repeat(depth) + field),
  ),
  censor: CENSOR,
};

/**
 * Makes the function that cleans a serialised line: every given secret in the spellings it can have there (as it is,
 * JSON-escaped, URL-encoded), then URL credentials, bearer and basic tokens, and Stellar secret seeds.
 */
export function makeRedactor(secrets: readonly string[]): (line: string) => string {
  const spellings = new Set<string>();
  for (const secret of secrets) {
    if (secret === '') continue;
    for (const spelling of [secret, encodeURIComponent(secret)]) {
      spellings.add(spelling);
      spellings.add(JSON.stringify(spelling).slice(1, -1));
    }
  }
  // The longest first: a password is part of its URL, and the shorter one would leave the rest of the longer standing.
  const ordered = [...spellings].sort((a, b) => b.length - a.length);
  const byValue = ordered.length === 0 ? null : new RegExp(ordered.map(escapeForRegExp).join('|'), 'g');
  return (line) => {
    const cleaned = byValue === null ? line : line.replace(byValue, CENSOR);
    return cleaned
      .replace(URL_USERINFO, `$1${CENSOR}@`)
      .replace(AUTH_SCHEME, `$1 ${CENSOR}`)
      .replace(STELLAR_SEED, CENSOR);
  };
}

function escapeForRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
