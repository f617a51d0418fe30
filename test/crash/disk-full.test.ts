// A disk of 64 MiB is filled. Sends are refused, everything else goes on, and sending resumes by itself.

import { status } from '@grpc/grpc-js';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { ChildBroker } from '../support/child-broker.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, digestOf, nameIn } from '../support/message-body.ts';
import { MountedDisk, whyNoMounts } from '../support/mounted-disk.ts';
import { skipWhen } from '../support/skip.ts';

const DISK_MIB = 64;
const BODY_BYTES = 16 * 1024;
const FRAME_MESSAGES = 8;
const FRAMES_MAX = (3 * DISK_MIB * 1024 * 1024) / (BODY_BYTES * FRAME_MESSAGES);
const RESUME_MS_MAX = 30_000;

const { method } = BrokerService;

/** Sends frames until one is refused; gives the error and the number of messages that were stored. */
async function fill(
  client: BrokerClient,
  topic: string,
): Promise<{ stored: number; error: unknown }> {
  for (let frame = 0; frame < FRAMES_MAX; frame++) {
    const messages = Array.from({ length: FRAME_MESSAGES }, (_, index) => ({
      body: bodyOf({ producer: 0, id: frame * FRAME_MESSAGES + index }, BODY_BYTES),
    }));
    try {
      await client.call(method.send, { topic, queueId: 0, messages });
    } catch (error) {
      return { stored: frame * FRAME_MESSAGES, error };
    }
  }
  throw new Error(`${FRAMES_MAX * FRAME_MESSAGES} messages of ${BODY_BYTES} bytes fitted`);
}

async function send(client: BrokerClient, topic: string, text: string): Promise<void> {
  const body = new TextEncoder().encode(text);
  await client.call(method.send, { topic, messages: [{ body }] });
}

/** Reads a topic's kept messages and expects them whole, dense and of their place; gives how many. */
async function expectReadable(
  client: BrokerClient,
  topic: string,
  stored: number,
): Promise<number> {
  const { queues } = await client.call(method.describeTopic, { name: topic });
  const begin = Number(queues[0]?.beginOffset);
  expect(Number(queues[0]?.endOffset)).toBe(stored);
  let next = begin;
  for await (const { message, offset } of client.readAll(topic)) {
    const body = message?.body ?? new Uint8Array();
    expect(Number(offset)).toBe(next);
    expect(nameIn(body)).toEqual({ producer: 0, id: next });
    expect(digestOf(body)).toBe(digestOf(bodyOf({ producer: 0, id: next }, BODY_BYTES)));
    next++;
  }
  expect(next).toBe(stored);
  return stored - begin;
}

test('a full disk refuses sends, serves everything else, and can be emptied', async (context) => {
  skipWhen(context, whyNoMounts());
  using disk = await MountedDisk.tmpfs(DISK_MIB);
  await using broker = await ChildBroker.start({ command: 'start', data: disk.path });
  using client = new BrokerClient(broker.address);
  await client.ensureTopic({ name: 'large', settings: { queues: 1 } });
  await client.ensureTopic({ name: 'small', settings: { queues: 1 } });
  await send(client, 'small', 'before');
  const group = 'disk-full';
  const subscription = { topic: 'small', from: { target: { case: 'begin' as const, value: {} } } };

  // Sends are refused, with a status that says so.
  const { stored, error } = await fill(client, 'large');
  expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  expect(String(error)).toMatch(/disk/i);
  await expect(send(client, 'small', 'refused')).rejects.toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
  });

  // Reads and settlements go on, and so does the process.
  expect(await expectReadable(client, 'large', stored)).toBeGreaterThan(FRAME_MESSAGES);
  const { messages, leases } = await client.call(method.receive, { group, subscription });
  expect(messages).toHaveLength(1);
  const settlements = leases.map(({ topicId, queueId, firstOffset, endOffset, leaseId }) => ({
    ...{ topicId, queueId, firstOffset, endOffset, leaseId },
    action: Settlement_Action.ACKNOWLEDGE,
  }));
  expect((await client.call(method.settle, { group, settlements })).failures).toEqual([]);
  const { queues } = await client.call(method.getOffset, { group, topic: 'small' });
  expect(queues[0]?.floorOffset).toBe(1n);

  // It starts on the full disk too, and nothing that it had accepted is lost.
  await broker.kill();
  broker.relaunch();
  expect(await expectReadable(client, 'large', stored)).toBeGreaterThan(FRAME_MESSAGES);

  // Deleting topics empties the disk, and sending resumes without help.
  await client.call(method.deleteTopic, { name: 'large' });
  await eventually(
    'sending resumes after the topic was deleted',
    async () => {
      await send(client, 'small', 'after');
      return true;
    },
    { withinMs: RESUME_MS_MAX, everyMs: 200 },
  );
  const bodies: string[] = [];
  for await (const { message } of client.readAll('small')) {
    bodies.push(new TextDecoder().decode(message?.body));
  }
  expect(bodies.at(-1)).toBe('after');
  expect(bodies).not.toContain('refused');
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
});
