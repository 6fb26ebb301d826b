// Calls in the Connect protocol's JSON, one at a time, each with a deadline.

/** With the two seconds between polls, a server that hangs is noticed within five. */
const TIMEOUT_MS = 2_500;
const MAX_TOKEN_CHARS = 4_096;
const TOKEN_KEY = 'trueup.token';

/** A call that failed: `code` as Connect names it, or `unreachable`. */
export class CallError extends Error {
  constructor(code, message, fix) {
    super(message);
    this.code = code;
    this.fix = fix;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token.trim().slice(0, MAX_TOKEN_CHARS));
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN_KEY) !== null;
}

/** Calls `Service/Method` of trueup.v1 and returns its answer. */
export async function call(method, request = {}) {
  const headers = {
    'content-type': 'application/json',
    'connect-protocol-version': '1',
    'connect-timeout-ms': String(TIMEOUT_MS),
  };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token !== null) headers.authorization = `Bearer ${token}`;
  let response;
  let body;
  try {
    // Relative to the page, so that it works behind a prefix too.
    response = await fetch(new URL(`trueup.v1.${method}`, document.baseURI), {
      method: 'POST',
      headers,
      body: JSON.stringify(request),
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = await response.json();
  } catch {
    throw new CallError('unreachable', response === undefined ? 'the server does not answer' : 'the server broke off');
  }
  if (response.ok) return body;
  const info = (body.details ?? []).map((detail) => detail.debug).find((debug) => debug?.reason !== undefined);
  throw new CallError(
    body.code ?? 'unknown',
    body.message ?? `the server answered ${response.status}`,
    info?.metadata?.fix,
  );
}
