// Every limit of the wire in one place, the unit last in each name.

export const RPC_LIMITS = {
  /** One request message, inflated. */
  maxReceiveBytes: 4 * 1024 * 1024,
  /** One response message. */
  maxSendBytes: 4 * 1024 * 1024,
  /** Responses below this are sent as they are (Connect and gRPC-Web only; grpc-js never compresses answers). */
  compressMinBytes: 16 * 1024,
  /** Calls of one HTTP/2 connection at a time. */
  maxConcurrentStreamsPerConnection: 100,
  /** Calls of all connections at a time; above it a call is refused at once as OVERLOADED. */
  maxInFlightCalls: 1_000,
  /** Long-lived streams of one caller at a time, over all connections. */
  maxOpenStreamsPerCaller: 64,
  /** Messages that wait in memory for one slow reader (grpc-js counts messages, not bytes). */
  maxQueuedMessagesPerStream: 16,
  /** Memory that Node gives to the bookkeeping of one HTTP/2 session, megabytes. */
  maxSessionMemoryMb: 10,
  /** Default and longest times; a caller's own deadline counts where it is nearer. */
  unaryMaxMs: 30_000,
  clientStreamMaxMs: 30 * 60_000,
  serverStreamMaxMs: 30 * 60_000,
  watchMaxMs: 24 * 60 * 60_000,
  keepAliveIntervalMs: 30_000,
  keepAliveTimeoutMs: 10_000,
  /** Bytes of an error message on the wire: trailers have to fit a client's header limit. */
  maxErrorMessageChars: 1_000,
  maxErrorFields: 20,
  maxErrorFieldChars: 200,
  maxPageTokenChars: 2_048,
} as const;

export const PAGE_LIMITS = {
  defaultItems: 50,
  /** Most items of a page of rows (drifts, entries, balances, coverage). */
  maxRows: 1_000,
  /** Most items of a page of resources (runs, policies, schedules). */
  maxResources: 200,
} as const;
