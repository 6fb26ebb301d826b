// Goal: a page token goes on where its page ended, for the same question, and for no other.
import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  ListDriftsRequestSchema,
  ListPoliciesRequestSchema,
  ListReconciliationsRequestSchema,
  StreamDriftsRequestSchema,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { ListSchedulesRequestSchema } from '../../gen/trueup/v1/health_service_pb.js';
import { pagerOf, resumeTokensOf } from './page-token.ts';

const POSITION = { at: '2026-01-01T00:00:00.000Z', id: '0199', count: 3, flag: true, none: null };
const drifts = (fields: object) => create(ListDriftsRequestSchema, fields);
const tokenFor = (fields: object) =>
  pagerOf(ListDriftsRequestSchema, drifts(fields), 1_000).nextToken({ items: [], next: POSITION });

describe('page tokens', () => {
  it('bring the position back, whatever the page size', () => {
    const token = tokenFor({ filter: { policy: 'p' } });
    const { page } = pagerOf(
      ListDriftsRequestSchema,
      drifts({ filter: { policy: 'p' }, pageSize: 7, pageToken: token }),
      1_000,
    );
    expect(page).toEqual({ size: 7, after: POSITION });
  });

  it('are empty after the last page', () => {
    expect(pagerOf(ListDriftsRequestSchema, drifts({}), 10).nextToken({ items: [], next: null })).toBe('');
  });

  it('belong to their filters', () => {
    const request = drifts({ filter: { policy: 'other' }, pageToken: tokenFor({ filter: { policy: 'p' } }) });
    expect(() => pagerOf(ListDriftsRequestSchema, request, 10)).toThrow(/other filters/);
  });

  it('belong to their method, also where the fields are the same', () => {
    const token = pagerOf(ListPoliciesRequestSchema, create(ListPoliciesRequestSchema), 10).nextToken({
      items: [],
      next: POSITION,
    });
    expect(() =>
      pagerOf(ListSchedulesRequestSchema, create(ListSchedulesRequestSchema, { pageToken: token }), 10),
    ).toThrow(/another method/);
  });

  it('are refused with any character changed, added or left out', () => {
    const token = tokenFor({});
    const spoilt = [...token].flatMap((character, index) => [
      token.slice(0, index) + (character === 'A' ? 'B' : 'A') + token.slice(index + 1),
      token.slice(0, index) + token.slice(index + 1),
    ]);
    for (const pageToken of [...spoilt, `${token}A`, `${token}=`, ` ${token}`, 'x', 'null', '%']) {
      expect(() => pagerOf(ListDriftsRequestSchema, drifts({ pageToken }), 10), pageToken).toThrow(
        expect.objectContaining({ reason: 'INVALID_PAGE_TOKEN' }),
      );
    }
  });

  it('resume streams in the same way', () => {
    const request = create(StreamDriftsRequestSchema, { filter: { policy: 'p' } });
    const resumeToken = resumeTokensOf(StreamDriftsRequestSchema, request).token(POSITION);
    expect(resumeTokensOf(StreamDriftsRequestSchema, { ...request, resumeToken }).after).toEqual(POSITION);
    const other = create(StreamDriftsRequestSchema, { filter: { policy: 'q' }, resumeToken });
    expect(() => resumeTokensOf(StreamDriftsRequestSchema, other)).toThrow(/other filters/);
  });
});

describe('page sizes', () => {
  const sizeFor = (pageSize: number) =>
    pagerOf(ListReconciliationsRequestSchema, create(ListReconciliationsRequestSchema, { pageSize }), 200).page.size;

  it('are the default when left out, and lowered to the cap', () => {
    expect([sizeFor(0), sizeFor(1), sizeFor(200), sizeFor(201), sizeFor(2 ** 31 - 1)]).toEqual([50, 1, 200, 200, 200]);
  });

  it('must not be negative', () => {
    expect(() => sizeFor(-1)).toThrow(expect.objectContaining({ reason: 'INVALID_REQUEST' }));
  });
});
