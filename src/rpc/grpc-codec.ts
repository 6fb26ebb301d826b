// Between grpc-js and our messages: method definitions whose codec is the identity, so that a request is decoded only
// once its caller is known, and statuses with their details.
import { type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { Metadata, type StatusObject } from '@grpc/grpc-js';
import type { WireFailure } from './chain.ts';
import { statusDetailsBinary } from './error-table.ts';

/** Unknown fields are dropped: what the server doesn't know it neither keeps nor sends back. */
const READ_OPTIONS = { readUnknownFields: false } as const;

export const identity = (bytes: Buffer): Buffer => bytes;

export function decodeMessage(desc: DescMessage, bytes: Buffer): Message {
  return fromBinary(desc, bytes, READ_OPTIONS);
}

export function encoderOf(desc: DescMessage): (message: Message) => Buffer {
  return (message) => {
    const bytes = toBinary(desc, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

/** The request id goes back with errors only: whoever wants to know it of every call sends one. */
export function statusObject(failure: WireFailure): StatusObject {
  const metadata = new Metadata();
  metadata.set('x-request-id', failure.requestId);
  metadata.set('grpc-status-details-bin', Buffer.from(statusDetailsBinary(failure.status)));
  return { code: failure.status.code as StatusObject['code'], details: failure.status.message, metadata };
}
