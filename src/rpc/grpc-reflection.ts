// Server reflection, v1 and v1alpha, from the image that the contract was generated with.
import { readFileSync } from 'node:fs';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';

/** Adds the service; `services` are the names it lists. */
export function addReflection(server: Server, services: readonly string[]): void {
  new ReflectionService(packageOf(readImage()), { services: [...services] }).addToServer(server);
}

function readImage(): Uint8Array {
  return readFileSync(new URL('../../gen/descriptors.binpb', import.meta.url));
}

/**
 * A package definition that holds the image's own files and nothing else: the reflection service looks at no other part of
 * one. Read through proto-loader instead, the files would come back merged by package, without our options and
 * without the presence of proto3 optional fields.
 */
function packageOf(image: Uint8Array): ConstructorParameters<typeof ReflectionService>[0] {
  const files = fromBinary(FileDescriptorSetSchema, image).file;
  const fileDescriptorProtos = files.map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file)));
  return { image: { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos } };
}
