// A failure out of rows: its reason as text may come from a version that knew more of them.
import { REASONS, type Reason } from '../core/errors.ts';
import type { Failure } from '../core/status.ts';

export function keptFailure(reason: string | null, message: string | null, at: Date | null, fix = ''): Failure {
  const known: Reason = reason !== null && Object.hasOwn(REASONS, reason) ? (reason as Reason) : 'INTERNAL';
  return { reason: known, message: message ?? '', fix, retryable: REASONS[known].retryable, at };
}
