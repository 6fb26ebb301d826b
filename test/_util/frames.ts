// The five bytes before each message of a gRPC or Connect stream.

export function framed(message: Buffer, compressed: 0 | 1 = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
