// One JSON object a line, with the request it belongs to and without secrets.
import { pino, stdSerializers, stdTimeFunctions } from 'pino';
import type { DestinationStream } from 'pino';
import { makeRedactor, redactFields } from './redact.ts';
import { currentRequest } from './tracing.ts';

/** Fields first, then a constant sentence; an error goes into the field `err`. */
export interface Logger {
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  fatal(fields: object, message: string): void;
  /** A logger whose every line bears these fields. */
  child(fields: Record<string, unknown>): Logger;
}

export interface LoggerOptions {
  readonly level: string;
  /** The deployment's name, in every line as `service`. */
  readonly name: string;
  /** Texts that must never be printed, see config's secretValues. */
  readonly secrets: readonly string[];
  /** Takes whole lines; standard output when absent. */
  readonly destination?: DestinationStream;
}

export function createLogger({ level, name, secrets, destination }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: { service: name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), bindings: redactFields, log: redactFields },
      serializers: { err: stdSerializers.errWithCause },
      depthLimit: 8,
      edgeLimit: 200,
      mixin: requestFields,
      hooks: { streamWrite: makeRedactor(secrets) },
    },
    // Synchronous: a line written before the process is killed is not lost.
    destination ?? pino.destination({ fd: 1, sync: true }),
  );
}

/** For tests and tools that must not speak. */
export function silentLogger(): Logger {
  return createLogger({ level: 'silent', name: 'silent', secrets: [], destination: { write: () => undefined } });
}

function requestFields(): object {
  const request = currentRequest();
  if (request === undefined) return {};
  const { requestId, traceId, actor } = request;
  return { request_id: requestId, trace_id: traceId, ...(actor !== '' && { actor }) };
}
