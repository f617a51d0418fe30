import { readFileSync } from 'node:fs';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials, status } from '@grpc/grpc-js';
import {
  ServerReflection,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from '@ternmq/proto/gen/grpc/reflection/v1/reflection_pb';
import {
  ServerReflectionRequestSchema as AlphaRequestSchema,
  ServerReflection as ServerReflectionAlpha,
} from '@ternmq/proto/gen/grpc/reflection/v1alpha/reflection_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { NameServerService } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { describe, expect, test } from 'vitest';
import { openBidiStream } from './client.ts';
import { Reflection } from './reflection.ts';
import { GrpcServer } from './server.ts';

type Question = NonNullable<
  MessageInitShape<typeof ServerReflectionRequestSchema>['messageRequest']
>;

const reflection = new Reflection();
reflection.add(NameServerService);
reflection.add(BrokerService);

function ask(messageRequest: Question): ServerReflectionResponse['messageResponse'] {
  return reflection.answer(create(ServerReflectionRequestSchema, { messageRequest }))
    .messageResponse;
}

function filesOf(question: Question): string[] {
  const answer = ask(question);
  if (answer.case !== 'fileDescriptorResponse') throw new Error(JSON.stringify(answer));
  return answer.value.fileDescriptorProto.map(
    (bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name,
  );
}

const NAMESERVER_FILE = 'ternmq/nameserver/v1/nameserver.proto';
const BROKER_FILE = 'ternmq/broker/v1/broker.proto';

describe('reflection', () => {
  test.each([
    'ternmq.nameserver.v1.NameServerService',
    'ternmq.nameserver.v1.NameServerService.QueryRoute',
    'ternmq.nameserver.v1.Route',
    'ternmq.nameserver.v1.Route.groups',
    'ternmq.nameserver.v1.RegisterBrokerRequest.event',
    'ternmq.nameserver.v1.RegisterBrokerRequest.Heartbeat',
    'ternmq.nameserver.v1.BrokerRole',
    'ternmq.nameserver.v1.BROKER_ROLE_MASTER',
  ])('finds the file of %s', (value) => {
    expect(filesOf({ case: 'fileContainingSymbol', value })).toEqual([NAMESERVER_FILE]);
  });

  test('answers a file together with all that it imports, each once', () => {
    const files = filesOf({ case: 'fileByFilename', value: BROKER_FILE });
    expect(files[0]).toBe(BROKER_FILE);
    expect(files).toContain('ternmq/message/v1/message.proto');
    expect(new Set(files).size).toBe(files.length);
  });

  test('serves the very descriptors that buf writes', () => {
    const path = new URL('../gen/descriptors.binpb', import.meta.resolve('@ternmq/proto'));
    const written = fromBinary(FileDescriptorSetSchema, readFileSync(path));
    for (const name of [NAMESERVER_FILE, BROKER_FILE]) {
      const answer = ask({ case: 'fileByFilename', value: name });
      if (answer.case !== 'fileDescriptorResponse') throw new Error(JSON.stringify(answer));
      for (const bytes of answer.value.fileDescriptorProto) {
        const served = fromBinary(FileDescriptorProtoSchema, bytes);
        const expected = written.file.find((file) => file.name === served.name);
        if (expected === undefined) throw new Error(`buf did not write ${served.name}`);
        // What buf adds for itself.
        delete expected.$unknown;
        expect(toBinary(FileDescriptorProtoSchema, served)).toEqual(
          toBinary(FileDescriptorProtoSchema, expected),
        );
      }
    }
  });

  test.each<Question>([
    { case: 'fileByFilename', value: '../../etc/passwd' },
    { case: 'fileContainingSymbol', value: 'ternmq.None' },
    { case: 'fileContainingExtension', value: { containingType: 'a', extensionNumber: 1 } },
    { case: 'allExtensionNumbersOfType', value: 'ternmq.None' },
  ])('says NOT_FOUND for what it does not have: %j', (question) => {
    expect(ask(question)).toMatchObject({
      case: 'errorResponse',
      value: { errorCode: status.NOT_FOUND },
    });
  });

  test('says that a known type has no extensions, and that no question is no question', () => {
    expect(
      ask({ case: 'allExtensionNumbersOfType', value: 'ternmq.nameserver.v1.Route' }),
    ).toMatchObject({ case: 'allExtensionNumbersResponse', value: { extensionNumber: [] } });
    expect(ask({ case: undefined })).toMatchObject({
      case: 'errorResponse',
      value: { errorCode: status.INVALID_ARGUMENT },
    });
  });
});

test.each([
  [ServerReflection, ServerReflectionRequestSchema],
  [ServerReflectionAlpha, AlphaRequestSchema],
] as const)('a server answers %o with the services that it has', async (service, schema) => {
  const server = new GrpcServer();
  server.add(NameServerService, {});
  const port = await server.listen('127.0.0.1', 0);
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  // The two versions are the same but for their package, which a type parameter cannot say.
  const method = service.method
    .serverReflectionInfo as typeof ServerReflection.method.serverReflectionInfo;
  const stream = openBidiStream(client, method);
  const messageRequest = { case: 'listServices', value: '' } as const;
  stream.end(create(schema as typeof ServerReflectionRequestSchema, { host: 'h', messageRequest }));
  const responses = await stream.toArray();
  client.close();
  await server.stop(1000);
  const names = [
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
    'ternmq.nameserver.v1.NameServerService',
  ];
  const value = { service: names.map((name) => ({ name })) };
  expect(responses).toMatchObject([
    { validHost: 'h', messageResponse: { case: 'listServicesResponse', value } },
  ]);
});
