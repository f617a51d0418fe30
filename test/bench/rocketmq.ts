// `npm run bench:rocketmq`: what clients of RocketMQ 5 get, in one run: single sends beside an empty unary server on grpc-js,
// by a load generator in C, and receiving in batches with acknowledgements.
//
//   npm run bench:rocketmq -- [--runs N]

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { create, toBinary } from '@bufbuild/protobuf';
import { FilterType, MessageType } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  MessagingService,
  SendMessageRequestSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { Client } from '@ternmq/sdk';
import { ChildBroker } from '../support/child-broker.ts';
import { freePorts } from '../support/free-ports.ts';
import { RocketmqClient } from '../support/rocketmq-client.ts';
import { TempDir } from '../support/temp-dir.ts';
import { showSpread, spreadOf } from './statistics.ts';

const TOPIC = 'bench';
const SENDS = 30_000;
const BACKLOG = 100_000;
const RECEIVERS = 8;
const SEND_PATH = '/apache.rocketmq.v2.MessagingService/SendMessage';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '3' } } });
const runs = Number(values.runs);

/** The request as it is on the wire: one message of 1 KiB. */
function recordedRequest(): Buffer {
  const message = {
    topic: { name: TOPIC },
    body: Buffer.alloc(1024, 'x'),
    systemProperties: {
      messageId: '01BACBE1E4664E133B0B153B5F00000000',
      messageType: MessageType.NORMAL,
      bornHost: 'bench',
    },
  };
  const bytes = toBinary(
    SendMessageRequestSchema,
    create(SendMessageRequestSchema, { messages: [message as never] }),
  );
  const frame = Buffer.alloc(5 + bytes.length);
  frame.writeUInt32BE(bytes.length, 1);
  frame.set(bytes, 5);
  return frame;
}

/** Sends with `h2load`; requests a second. Throws when one fails. */
function sendRate(port: number, file: string): number {
  const headers = [
    'content-type: application/grpc',
    'te: trailers',
    'x-mq-client-id: bench',
  ].flatMap((header) => ['-H', header]);
  const args = ['-n', `${SENDS}`, '-c', '4', '-m', '32', '-t', '1', '-d', file, ...headers];
  const output = execFileSync('h2load', [...args, `http://127.0.0.1:${port}${SEND_PATH}`], {
    encoding: 'utf8',
  });
  const rate = Number(/finished in .*?, ([\d.]+) req\/s/.exec(output)?.[1]);
  if (!(rate > 0) || !output.includes(`${SENDS} succeeded`)) throw new Error(output);
  return rate;
}

/** Drains the backlog with several receivers that acknowledge; messages a second. */
async function receiveRate(port: number, group: string): Promise<number> {
  const { ackMessage } = MessagingService.method;
  let received = 0;
  const beginMs = performance.now();
  const receivers = Array.from({ length: RECEIVERS }, async (_, index) => {
    using client = new RocketmqClient(port, `bench-${index}`);
    while (received < BACKLOG) {
      const { messages } = await client.receive({
        group: { name: group },
        messageQueue: { topic: { name: TOPIC }, id: -1 },
        filterExpression: { type: FilterType.TAG, expression: '*' },
        batchSize: 32,
        invisibleDuration: { seconds: 60n },
        longPollingTimeout: { seconds: 1n },
      });
      received += messages.length;
      if (messages.length === 0) continue;
      const entries = messages.map(({ systemProperties }) => ({
        messageId: systemProperties?.messageId ?? '',
        receiptHandle: systemProperties?.receiptHandle ?? '',
      }));
      await client.call(ackMessage, { group: { name: group }, topic: { name: TOPIC }, entries });
    }
  });
  await Promise.all(receivers);
  return (received * 1000) / (performance.now() - beginMs);
}

await using folder = await TempDir.create('bench');
const file = join(folder.path, 'request');
writeFileSync(file, recordedRequest());
const [rocketmqPort = 0] = await freePorts(1);
await using broker = await ChildBroker.start({
  command: 'start',
  data: join(folder.path, 'data'),
  args: ['--rocketmq-port', `${rocketmqPort}`],
});
const client = new Client({ nameservers: broker.nameserver });
await client.admin.createTopic(TOPIC, { queues: 4 });

try {
  execFileSync('h2load', ['--version']);
  const echo = spawn(process.execPath, [join(import.meta.dirname, 'rocketmq-echo.ts')]);
  const [echoPort] = (await once(createInterface({ input: echo.stdout }), 'line')) as [string];
  sendRate(Number(echoPort), file);
  sendRate(rocketmqPort, file);
  const rates: number[] = [];
  const shares: number[] = [];
  for (let run = 0; run < runs; run++) {
    const empty = sendRate(Number(echoPort), file);
    const rate = sendRate(rocketmqPort, file);
    rates.push(rate);
    shares.push(rate / empty);
  }
  echo.kill();
  console.log(
    `single sends: ${showSpread(spreadOf(rates))} messages/s, ${showSpread(spreadOf(shares))} of an empty unary server`,
  );
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  console.log('h2load is not installed (nghttp2-client): sends are not measured');
}

const producer = client.producer();
const body = Buffer.alloc(1024, 'x');
for (let sent = 0; sent < BACKLOG; sent += 1000) {
  await Promise.all(Array.from({ length: 1000 }, () => producer.send(TOPIC, { body })));
}
const received: number[] = [];
for (let run = 0; run < runs; run++) received.push(await receiveRate(rocketmqPort, `g${run}`));
console.log(`received by 32, with acknowledgements: ${showSpread(spreadOf(received))} messages/s`);
await client.close();
