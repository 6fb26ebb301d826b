// Server reflection, v1 and v1alpha, from the image that the contract was generated with.
import { readFileSync } from 'node:fs';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';

/** Adds the service; `services` are the names it lists. */
export function addReflection(server: Server, services: readonly string[]): void {
  const files = readFiles();
  // A package definition that holds the image's files and nothing else: reflection looks at no other part of one. Read through
  // proto-loader, they would come back merged by package.
  const image = { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos: [...files.values()] };
  const definition = { image } as unknown as ConstructorParameters<typeof ReflectionService>[0];
  const reflection = new ReflectionService(definition, { services: [...services] });
  keepOptions(reflection, files);
  reflection.addToServer(server);
}

function readFiles(): Map<string, Buffer> {
  const image = fromBinary(
    FileDescriptorSetSchema,
    readFileSync(new URL('../../gen/descriptors.binpb', import.meta.url)),
  );
  return new Map(image.file.map((file) => [file.name, Buffer.from(toBinary(FileDescriptorProtoSchema, file))]));
}

/**
 * @grpc/reflection decodes every file and encodes it anew with a schema that knows no options but Google's, which drops the roles
 * and the rules of our fields. What it keeps to send is replaced by the image's own bytes; should a later release
 * keep it elsewhere, clients still get everything but those options.
 */
function keepOptions(reflection: ReflectionService, files: ReadonlyMap<string, Buffer>): void {
  for (const version of Object.values(reflection) as { fileEncodings?: unknown }[]) {
    if (!(version.fileEncodings instanceof Map)) continue;
    for (const file of version.fileEncodings.keys() as IterableIterator<{ name: string }>) {
      version.fileEncodings.set(file, files.get(file.name));
    }
  }
}
