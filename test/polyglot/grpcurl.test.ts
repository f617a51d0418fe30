// The schemas come from the broker itself, by reflection.

import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ChildBroker } from '../support/child-broker.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { goTools, run, type Toolchain } from './toolchain.ts';

const SERVICE = 'ternmq.broker.v1.BrokerService';
const CALL_MS_MAX = 30_000;

let toolchain: Toolchain;

beforeAll(() => {
  toolchain = goTools('grpcurl');
});

interface Lease {
  readonly topicId: number;
  readonly queueId: number;
  readonly firstOffset: string;
  readonly endOffset: string;
  readonly leaseId: string;
}

interface Received {
  readonly messages?: readonly { readonly message: { readonly body: string } }[];
  readonly leases?: readonly Lease[];
}

const encoded = (text: string) => Buffer.from(text).toString('base64');

test('grpcurl sends and receives with nothing but the address', async (context) => {
  if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
  const grpcurl = join(toolchain.folder, 'grpcurl');
  await using data = await TempDir.create('data');
  await using broker = await ChildBroker.start({ command: 'start', data: data.path });
  const call = (method: string, ...requests: object[]) =>
    run(grpcurl, ['-plaintext', '-d', '@', broker.address, `${SERVICE}/${method}`], {
      input: requests.map((request) => JSON.stringify(request)).join('\n'),
      withinMs: CALL_MS_MAX,
    });

  const services = run(grpcurl, ['-plaintext', broker.address, 'list']).trim().split('\n');
  expect(services).toEqual(expect.arrayContaining([SERVICE, 'grpc.health.v1.Health']));
  const described = run(grpcurl, ['-plaintext', broker.address, 'describe', `${SERVICE}.Send`]);
  expect(described).toContain('SendRequest');

  const topic = 'polyglot-grpcurl';
  call('CreateTopic', { name: topic, settings: { queues: 1 } });
  const sent = JSON.parse(call('Send', { topic, messages: [{ body: encoded('unary') }] }));
  expect(sent.receipts[0].messageId).toMatch(/^[0-9a-f]{32}$/i);
  const produced = call(
    'Produce',
    ...['one', 'two'].map((body, index) => ({
      topic,
      frameId: index + 1,
      messages: [{ body: encoded(body), properties: { by: 'grpcurl' } }],
    })),
  );
  expect(produced).toContain('"baseOffset": "1"');
  expect(produced).toContain('"baseOffset": "2"');

  const group = 'grpcurl';
  const subscription = { topic, from: { begin: {} } };
  const bodies: string[] = [];
  for (let rounds = 0; bodies.length < 3 && rounds < 10; rounds++) {
    const request = { group, subscription, messagesMax: 32, waitMs: 1000 };
    const { messages = [], leases = [] }: Received = JSON.parse(call('Receive', request));
    bodies.push(...messages.map((one) => Buffer.from(one.message.body, 'base64').toString()));
    const settlements = leases.map(({ topicId, queueId, firstOffset, endOffset, leaseId }) => ({
      ...{ topicId, queueId, firstOffset, endOffset, leaseId },
      action: 'ACTION_ACKNOWLEDGE',
    }));
    if (leases.length > 0) expect(JSON.parse(call('Settle', { group, settlements }))).toEqual({});
  }
  expect(bodies).toEqual(['unary', 'one', 'two']);
  const progress = JSON.parse(call('GetOffset', { group, topic }));
  expect(progress.queues[0].floorOffset).toBe('3');
  expect(progress.queues[0].lag ?? '0').toBe('0');

  expect(() => call('Send', { topic: 'nowhere/../x', messages: [{ body: encoded('x') }] })).toThrow(
    /InvalidArgument/,
  );
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
});
