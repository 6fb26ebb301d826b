// What the cellar asks of a logger; pino's has this shape, and so has the one in telemetry.
export interface StoreLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
