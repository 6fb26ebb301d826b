// Writes the third-party .proto files that our contract imports, or that clients need, beside this script.
//
//   node third_party/vendor-protos.ts
//
// Every file comes from an installed npm package, so the version is the one in package-lock.json and nothing is
// fetched. google.rpc and grpc.health.v1 are copied. buf.validate is printed from the descriptor inside
// @bufbuild/protovalidate: that package ships no .proto text, and its descriptor is what validates at run time, so
// the annotations in our files can't mean one thing to the compiler and another to the server.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type JsonValue, createRegistry, isFieldSet, toJson } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  type DescriptorProto_ReservedRange,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type FileDescriptorProto,
  EnumOptionsSchema,
  EnumValueOptionsSchema,
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  FileOptionsSchema,
  MessageOptionsSchema,
  OneofOptionsSchema,
} from '@bufbuild/protobuf/wkt';
import { file_buf_validate_validate } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js';

const outDir = import.meta.dirname;
const require = createRequire(import.meta.url);

function main(): void {
  for (const name of ['status', 'error_details', 'code']) {
    copy('google-proto-files', `google/rpc/${name}.proto`, `google/rpc/${name}.proto`);
  }
  copy('grpc-health-check', 'proto/health/v1/health.proto', 'grpc/health/v1/health.proto');
  write('buf/validate/validate.proto', printFile(file_buf_validate_validate.proto));
}

function copy(packageName: string, from: string, to: string): void {
  const packageDir = dirname(require.resolve(`${packageName}/package.json`));
  write(to, readFileSync(join(packageDir, from), 'utf8'));
}

function write(path: string, text: string): void {
  const target = join(outDir, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
}

// A descriptor printer, as wide as validate.proto needs: proto2, no services, no groups, no maps, and no message
// that nests an extension. Anything else throws rather than being printed wrongly.
const registry = createRegistry(file_buf_validate_validate);

function printFile(file: FileDescriptorProto): string {
  if (file.syntax !== '' && file.syntax !== 'proto2') throw new Error(`unsupported syntax ${file.syntax}`);
  if (file.service.length > 0) throw new Error('services are not supported');
  const out: string[] = [
    "// Protovalidate's rules (Apache License 2.0), printed from the descriptor in npm package @bufbuild/protovalidate.",
    "// Written by third_party/vendor-protos.ts; don't edit.",
    '',
    'syntax = "proto2";',
    '',
    `package ${file.package};`,
    '',
    ...file.dependency.map((dependency) => `import "${dependency}";`),
    '',
  ];
  if (file.options) {
    for (const [name, value] of optionEntries(toJson(FileOptionsSchema, file.options, jsonOptions))) {
      out.push(`option ${name} = ${value};`);
    }
    out.push('');
  }
  for (const extension of file.extension) {
    out.push(`extend ${extension.extendee} {`, `  ${fieldText(extension)}`, '}', '');
  }
  for (const message of file.messageType) printMessage(message, '', out);
  for (const enumeration of file.enumType) printEnum(enumeration, '', out);
  return `${out.join('\n').trimEnd()}\n`;
}

function printMessage(message: DescriptorProto, indent: string, out: string[]): void {
  if (message.extension.length > 0) throw new Error(`${message.name}: nested extensions are not supported`);
  const inner = `${indent}  `;
  out.push(`${indent}message ${message.name} {`);
  if (message.options) {
    for (const [name, value] of optionEntries(toJson(MessageOptionsSchema, message.options, jsonOptions))) {
      out.push(`${inner}option ${name} = ${value};`);
    }
  }
  const begun = new Set<number>();
  for (const field of message.field) {
    if (!inOneof(field)) {
      out.push(inner + fieldText(field));
    } else if (!begun.has(field.oneofIndex)) {
      begun.add(field.oneofIndex);
      const oneof = message.oneofDecl[field.oneofIndex];
      if (oneof === undefined) throw new Error(`${message.name}.${field.name}: no such oneof`);
      out.push(`${inner}oneof ${oneof.name} {`);
      if (oneof.options) {
        for (const [name, value] of optionEntries(toJson(OneofOptionsSchema, oneof.options, jsonOptions))) {
          out.push(`${inner}  option ${name} = ${value};`);
        }
      }
      for (const member of message.field) {
        if (inOneof(member) && member.oneofIndex === field.oneofIndex) out.push(`${inner}  ${fieldText(member)}`);
      }
      out.push(`${inner}}`);
    }
  }
  // 536,870,912 is the exclusive end that the word "max" compiles to.
  for (const range of message.extensionRange) {
    out.push(`${inner}extensions ${range.start} to ${range.end === 536870912 ? 'max' : range.end - 1};`);
  }
  for (const range of message.reservedRange) out.push(`${inner}reserved ${rangeText(range)};`);
  for (const name of message.reservedName) out.push(`${inner}reserved "${name}";`);
  for (const nested of message.nestedType) printMessage(nested, inner, out);
  for (const nested of message.enumType) printEnum(nested, inner, out);
  out.push(`${indent}}`);
  if (indent === '') out.push('');
}

function printEnum(enumeration: EnumDescriptorProto, indent: string, out: string[]): void {
  out.push(`${indent}enum ${enumeration.name} {`);
  if (enumeration.options) {
    for (const [name, value] of optionEntries(toJson(EnumOptionsSchema, enumeration.options, jsonOptions))) {
      out.push(`${indent}  option ${name} = ${value};`);
    }
  }
  for (const value of enumeration.value) {
    const options = value.options ? optionEntries(toJson(EnumValueOptionsSchema, value.options, jsonOptions)) : [];
    out.push(`${indent}  ${value.name} = ${value.number}${optionList(options)};`);
  }
  for (const range of enumeration.reservedRange) {
    out.push(`${indent}  reserved ${range.start === range.end ? range.start : `${range.start} to ${range.end}`};`);
  }
  for (const name of enumeration.reservedName) out.push(`${indent}  reserved "${name}";`);
  out.push(`${indent}}`);
  if (indent === '') out.push('');
}

// 0 is a valid oneof index, so presence is what tells.
function inOneof(field: FieldDescriptorProto): boolean {
  return isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex);
}

function fieldText(field: FieldDescriptorProto): string {
  const label = inOneof(field)
    ? ''
    : field.label === Label.REPEATED
      ? 'repeated '
      : field.label === Label.REQUIRED
        ? 'required '
        : 'optional ';
  const options: [string, string][] = isFieldSet(field, FieldDescriptorProtoSchema.field.defaultValue)
    ? [['default', defaultText(field)]]
    : [];
  if (field.options) options.push(...optionEntries(toJson(FieldOptionsSchema, field.options, jsonOptions)));
  return `${label}${typeText(field)} ${field.name} = ${field.number}${optionList(options)};`;
}

function typeText(field: FieldDescriptorProto): string {
  if (field.type === Type.GROUP) throw new Error(`${field.name}: groups are not supported`);
  return field.type === Type.MESSAGE || field.type === Type.ENUM ? field.typeName : Type[field.type].toLowerCase();
}

function defaultText(field: FieldDescriptorProto): string {
  return field.type === Type.STRING || field.type === Type.BYTES
    ? JSON.stringify(field.defaultValue)
    : field.defaultValue;
}

function rangeText(range: DescriptorProto_ReservedRange): string {
  return range.end - 1 === range.start ? `${range.start}` : `${range.start} to ${range.end - 1}`;
}

const jsonOptions = { registry, useProtoFieldName: true };

function optionEntries(json: JsonValue): [string, string][] {
  const entries: [string, string][] = [];
  for (const [key, value] of Object.entries(json as Record<string, JsonValue>)) {
    const name = key.startsWith('[') ? `(${key.slice(1, -1)})` : key;
    // A repeated option is set once for each of its elements.
    for (const element of Array.isArray(value) ? value : [value]) entries.push([name, valueText(element, key)]);
  }
  return entries;
}

function optionList(options: [string, string][]): string {
  return options.length === 0 ? '' : ` [${options.map(([name, value]) => `${name} = ${value}`).join(', ')}]`;
}

// The JSON form of an enum value is its bare name, which only these options hold.
const enumOptions = new Set(['optimize_for', 'ctype', 'jstype', 'retention', 'targets']);

function valueText(value: JsonValue, key: string): string {
  if (typeof value === 'string') return enumOptions.has(key) ? value : JSON.stringify(value);
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return `[${value.map((element) => valueText(element, key)).join(', ')}]`;
  return `{${Object.entries(value)
    .map(([name, member]) => `${name}: ${valueText(member, name)}`)
    .join(', ')}}`;
}

main();
