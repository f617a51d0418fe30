// Reads a topic's queues from their begin, without a group: nothing is leased or acknowledged. What the ways to consume
// are compared with. A process of its own, as `tern bench` is, and prints what that prints.
//
//   node test/bench/read.ts NAMESERVER TOPIC MESSAGES

import { create, toBinary } from '@bufbuild/protobuf';
import { credentials, Client as GrpcClient } from '@grpc/grpc-js';
import {
  BrokerService,
  PullStreamRequestSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Client } from '@ternmq/sdk';
import { readPull } from '../../sdk/typescript/src/wire/delivery.ts';
import type { LoadResult } from './run.ts';

const READ_MS_MAX = 120_000;

const [nameservers = '', topic = '', wanted = '0'] = process.argv.slice(2);
await using client = new Client({ nameservers });
const [{ address } = { address: '' }] = await client.admin.describeCluster();
const { queues } = await client.admin.describeTopic(topic);
using stack = new DisposableStack();
const grpc = new GrpcClient(address, credentials.createInsecure(), {
  // As the SDK has it.
  'grpc-node.flow_control_window': 4 << 20,
  'grpc.max_receive_message_length': 64 << 20,
});
stack.defer(() => grpc.close());

const cpu = process.cpuUsage();
const startMs = performance.now();
let messages = 0;
const { promise: done, resolve, reject } = Promise.withResolvers<void>();
const calls = queues.map(({ queueId, beginOffset }) => {
  const call = grpc.makeServerStreamRequest(
    `/${BrokerService.typeName}/${BrokerService.method.pullStream.name}`,
    (bytes: Uint8Array) => Buffer.from(bytes),
    (bytes: Buffer) => bytes,
    toBinary(
      PullStreamRequestSchema,
      create(PullStreamRequestSchema, { topic, queueId, offset: BigInt(beginOffset) }),
    ),
    { deadline: Date.now() + READ_MS_MAX },
  );
  call.on('data', (bytes: Buffer) => {
    messages += readPull(bytes).records.length;
    if (messages >= Number(wanted)) resolve();
  });
  call.on('error', reject);
  return call;
});
await done;
const seconds = (performance.now() - startMs) / 1000;
for (const call of calls) call.cancel();
const { user, system } = process.cpuUsage(cpu);
const result: LoadResult = {
  messagesPerSecond: messages / seconds,
  ...{ p50Ms: 0, p99Ms: 0, errors: 0, cpuSeconds: (user + system) / 1e6 },
};
console.log(JSON.stringify(result));
