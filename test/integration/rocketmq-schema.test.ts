// Our schema of `apache.rocketmq.v2` is written from facts; this holds it against the one that an official client carries.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createFileRegistry,
  type DescFile,
  type FileRegistry,
  fromBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { expect, test } from 'vitest';
import { TempDir } from '../support/temp-dir.ts';

const root = join(import.meta.dirname, '..', '..');
const PACKAGE = 'apache.rocketmq.v2';

/** What the client's files, older than the protocol, lack. */
const NEWER = [
  'enum apache.rocketmq.v2.Code 40021 INVALID_CLIENT_PROPERTIES',
  'field apache.rocketmq.v2.Settings 9 client_properties map<string, string>',
];

/** One line for each thing of a file that is on the wire. */
function linesOf(file: DescFile): string[] {
  const messages = file.messages.flatMap(function nested(message): typeof file.messages {
    return [message, ...message.nestedMessages.flatMap(nested)];
  });
  const enums = [...file.enums, ...messages.flatMap(({ nestedEnums }) => nestedEnums)];
  return [
    ...enums.flatMap(({ typeName, values }) =>
      values.map(({ number, name }) => `enum ${typeName} ${number} ${name}`),
    ),
    ...messages.flatMap((message) =>
      message.fields.map((field) => {
        const presence = field.proto.proto3Optional ? ' optional' : '';
        const oneof = field.oneof === undefined ? '' : ` in ${field.oneof.name}`;
        return `field ${message.typeName} ${field.number} ${field.name} ${typeOf(field)}${presence}${oneof}`;
      }),
    ),
    ...file.services.flatMap(({ typeName, methods }) =>
      methods.map(
        ({ name, methodKind, input, output }) =>
          `method ${typeName} ${name} ${methodKind} ${input.typeName} ${output.typeName}`,
      ),
    ),
  ];
}

function typeOf(field: DescFile['messages'][number]['fields'][number]): string {
  switch (field.fieldKind) {
    case 'map':
      return 'map<string, string>';
    case 'list':
      return `repeated ${field.message?.typeName ?? field.enum?.typeName ?? field.scalar}`;
    case 'message':
      return field.message.typeName;
    case 'enum':
      return field.enum.typeName;
    default:
      return `${field.scalar}`;
  }
}

function wire(registry: FileRegistry): string[] {
  return [...registry.files]
    .filter(({ proto, name }) => proto.package === PACKAGE && !name.endsWith('/admin'))
    .flatMap(linesOf)
    .sort();
}

function registryOf(bytes: Uint8Array): FileRegistry {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
}

test('the RocketMQ 5 schema has the names, numbers and types of the official one', async () => {
  await using folder = await TempDir.create('schema');
  const theirs = join(folder.path, 'theirs.binpb');
  const built = spawnSync(
    join(root, 'node_modules', '.bin', 'buf'),
    ['build', join(root, 'node_modules', 'rocketmq-client-nodejs', 'proto'), '-o', theirs],
    { encoding: 'utf8' },
  );
  expect(built.stderr).toBe('');
  const ours = wire(registryOf(readFileSync(join(root, 'proto', 'gen', 'descriptors.binpb'))));
  expect(ours.filter((line) => !NEWER.includes(line))).toEqual(
    wire(registryOf(readFileSync(theirs))),
  );
  expect(ours).toEqual(expect.arrayContaining(NEWER));
});
