// What a failed call means, out of the details that every TrueUp error carries.
import { Code, ConnectError } from '@connectrpc/connect';
import { BadRequestSchema, ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';

const DOMAIN = 'trueup.v1';

export interface DescribedError {
  /** The canonical code's name as gRPC writes it, for example NOT_FOUND. */
  readonly code: string;
  /** From TrueUp's closed list; the code's name where the error isn't one of TrueUp's. */
  readonly reason: string;
  readonly message: string;
  /** What to do about it; null: nobody said. */
  readonly fix: string | null;
  /** Fields of the request that are wrong. */
  readonly fields: readonly { readonly field: string; readonly description: string }[];
  readonly metadata: Readonly<Record<string, string>>;
  /** The server could not be reached, or broke off, without a word of its own. */
  readonly unreachable: boolean;
}

/** Of whatever a call threw. */
export function describeError(thrown: unknown): DescribedError {
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
  const code = codeName(error.code);
  const { fix, ...metadata } = info?.metadata ?? {};
  return {
    code,
    // What no call threw is a fault of this process.
    reason: info?.reason ?? (thrown instanceof ConnectError ? code : 'INTERNAL'),
    message: error.rawMessage,
    fix: fix ?? null,
    fields: error
      .findDetails(BadRequestSchema)
      .flatMap(({ fieldViolations }) => fieldViolations.map(({ field, description }) => ({ field, description }))),
    metadata,
    unreachable: info === undefined && (error.code === Code.Unavailable || error.code === Code.DeadlineExceeded),
  };
}

function codeName(code: Code): string {
  return Code[code].replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase();
}
