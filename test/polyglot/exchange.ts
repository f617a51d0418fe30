// What every other language must be able to do with a broker: send on two ways what others can read, and
// read on two ways what others sent.

import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { expect } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';

/** What a client program prints. */
interface Printed {
  readonly sent: readonly { messageId: string; queueId: number; offset: number }[];
  readonly produced: readonly { frameId: number; queueId: number; offset: number }[];
  readonly received: readonly string[];
  readonly pushed: readonly string[];
}

/**
 * Runs a client program against a broker with a message of our own in the topic, and checks what it says
 * and what it left.
 *
 * @param runClient runs the program with these arguments and gives what it prints
 */
export async function expectExchange(
  language: string,
  address: string,
  runClient: (address: string, topic: string) => string,
): Promise<void> {
  using broker = new BrokerClient(address);
  const topic = `polyglot-${language}`;
  await broker.ensureTopic({ name: topic, settings: { queues: 2 } });
  const ours = 'from TypeScript: 你好';
  const bodyOf = (text: string) => new TextEncoder().encode(text);
  await broker.call(BrokerService.method.send, { topic, messages: [{ body: bodyOf(ours) }] });

  const printed: Printed = JSON.parse(runClient(address, topic));

  const range = (count: number, name: string) =>
    Array.from({ length: count }, (_, index) => `${language} ${name} ${index}`);
  const theirs = [...range(3, 'unary'), ...range(100, 'stream')];
  const all = [ours, ...theirs].sort();
  expect([...printed.received].sort()).toEqual(all);
  expect([...printed.pushed].sort()).toEqual(all);

  const stored = new Map<string, { queueId: number; offset: number; properties: object }>();
  const orderOfKey: string[] = [];
  for await (const { message, queueId, offset } of broker.readAll(topic)) {
    const body = new TextDecoder().decode(message?.body);
    stored.set(body, { queueId, offset: Number(offset), properties: message?.properties ?? {} });
    if (message?.orderingKey === 'one') orderOfKey.push(body);
  }
  expect([...stored.keys()].sort()).toEqual(all);
  expect(orderOfKey).toEqual(theirs);
  expect(stored.get(`${language} unary 0`)?.properties).toMatchObject({ grüße: '你好' });
  for (const [index, { messageId, queueId, offset }] of printed.sent.entries()) {
    expect(stored.get(`${language} unary ${index}`)).toMatchObject({ queueId, offset });
    const found = await broker.call(BrokerService.method.getMessage, { messageId });
    expect(new TextDecoder().decode(found.message?.message?.body)).toBe(
      `${language} unary ${index}`,
    );
  }
  for (const { frameId, queueId, offset } of printed.produced) {
    expect(stored.get(`${language} stream ${frameId * 10}`)).toMatchObject({ queueId, offset });
  }
}
