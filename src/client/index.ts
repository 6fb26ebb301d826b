// The front of the client package.
export { CLIENT_DEFAULTS, createTrueUpClient, serverUrl } from './client.ts';
export type { TrueUpClient, TrueUpClientOptions } from './client.ts';
export { describeError } from './errors.ts';
export type { DescribedError } from './errors.ts';
export * as contract from './contract.ts';
