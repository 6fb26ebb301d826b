// Page tokens: opaque, bound to the method and to the filters of the request that made them.
import { createHash } from 'node:crypto';
import { clone, type DescMessage, type Message, toBinary } from '@bufbuild/protobuf';
import { TrueUpError } from '../core/errors.ts';
import type { Page, PagePosition, PageRequest } from '../core/page.ts';
import { PAGE_LIMITS, RPC_LIMITS } from './limits.ts';

const VERSION = 1;
const HASH_BYTES = 8;
const HEADER_BYTES = 1 + 2 * HASH_BYTES;

export interface PagedRequest extends Message {
  pageSize: number;
  pageToken: string;
}

/** What a list's request asks for, and the token for the page after it. */
export interface Pager {
  readonly page: PageRequest;
  /** Empty after the last page. */
  nextToken(page: Page<unknown>): string;
}

/**
 * @param maxItems the method's cap; a larger page_size is lowered to it, 0 means the default.
 * @throws TrueUpError INVALID_REQUEST for a negative page_size, INVALID_PAGE_TOKEN for a token that is damaged or
 *   belongs to other filters or another method.
 */
export function pagerOf(desc: DescMessage, request: PagedRequest, maxItems: number): Pager {
  if (request.pageSize < 0) {
    throw new TrueUpError('INVALID_REQUEST', 'page_size must not be negative', {
      fields: [{ field: 'page_size', description: 'must be 0 or more' }],
    });
  }
  // Most lists fit their first page: only a token, come or given, is worth the hash.
  const filter = (): Buffer => filterHash(desc, request);
  const size = Math.min(request.pageSize === 0 ? PAGE_LIMITS.defaultItems : request.pageSize, maxItems);
  return {
    page: { size, after: request.pageToken === '' ? null : openToken(request.pageToken, filter()) },
    nextToken: (page) => (page.next === null ? '' : sealToken(page.next, filter())),
  };
}

/** The same for a stream, whose token says where it broke off. */
export function resumeTokensOf(desc: DescMessage, request: Message & { resumeToken: string }) {
  const filter = filterHash(desc, request);
  return {
    after: request.resumeToken === '' ? null : openToken(request.resumeToken, filter),
    token: (position: PagePosition): string => sealToken(position, filter),
  };
}

/** Everything of the request but where and how much: its type's name makes the token the method's own. */
function filterHash(desc: DescMessage, request: Message): Buffer {
  const filters = clone(desc, request) as Message & Partial<PagedRequest> & { resumeToken?: string };
  if (filters.pageSize !== undefined) filters.pageSize = 0;
  if (filters.pageToken !== undefined) filters.pageToken = '';
  if (filters.resumeToken !== undefined) filters.resumeToken = '';
  return digest(Buffer.from(desc.typeName), toBinary(desc, filters));
}

// Version, filter hash, check sum, then the position as JSON. Nothing in it is a secret and nothing in it is trusted: the
// check sum finds damage, and a forged position selects nothing that the filters wouldn't.
function sealToken(position: PagePosition, filter: Buffer): string {
  const body = Buffer.from(JSON.stringify(position));
  const token = Buffer.concat([Buffer.from([VERSION]), filter, digest(filter, body), body]).toString('base64url');
  if (token.length > RPC_LIMITS.maxPageTokenChars)
    throw new Error(`a page token of ${token.length} characters is above the limit`);
  return token;
}

function openToken(token: string, filter: Buffer): PagePosition {
  const bytes = Buffer.from(token, 'base64url');
  const body = bytes.subarray(HEADER_BYTES);
  // Base64 has more than one spelling of the same bytes; only ours is taken.
  const whole =
    bytes.length > HEADER_BYTES &&
    bytes.toString('base64url') === token &&
    bytes[0] === VERSION &&
    digest(bytes.subarray(1, 1 + HASH_BYTES), body).equals(bytes.subarray(1 + HASH_BYTES, HEADER_BYTES));
  if (!whole) throw invalid('the page token is damaged');
  if (!bytes.subarray(1, 1 + HASH_BYTES).equals(filter))
    throw invalid('the page token belongs to other filters or another method');
  return JSON.parse(body.toString('utf8')) as PagePosition;
}

function digest(...parts: Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest().subarray(0, HASH_BYTES);
}

function invalid(message: string): TrueUpError {
  return new TrueUpError('INVALID_PAGE_TOKEN', message, {
    fix: 'send the token with the filters it came from, or start from the first page',
    fields: [{ field: 'page_token', description: message }],
  });
}
