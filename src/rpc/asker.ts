// Who asks, as the audit log wants to know it.
import type { CallContext } from './call.ts';
import type { Asker } from './ports.ts';

export function askerOf(call: CallContext): Asker {
  return {
    actor: call.caller.name,
    role: call.caller.role,
    method: call.method.path.slice(1),
    requestId: call.requestId,
    traceId: call.traceId,
    peer: call.peer,
  };
}
