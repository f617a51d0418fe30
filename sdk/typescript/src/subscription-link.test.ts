import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type SubscribeRequest,
  SubscribeRequestSchema,
  SubscribeResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { SubscriptionLink } from './subscription-link.ts';
import { FakeChannel, type FakeStream } from './testing/fake-channel.ts';
import { ManualClock, turn } from './testing/manual-clock.ts';
import type { DeliveredFrame } from './wire/delivery.ts';
import { SettleAction, type Settlement } from './wire/subscribe-request.ts';

let clock: ManualClock;
let channel: FakeChannel;
let frames: DeliveredFrame[];
let refusals: MqError[];
let events: ClientEvent[];

const observer = {
  delivered: (frame: DeliveredFrame): void => {
    frames.push(frame);
  },
  refused: (error: MqError): void => {
    refusals.push(error);
  },
};

function open(prefetch = { messages: 10, bytes: 10_000 }): SubscriptionLink {
  const told = new Events();
  told.listen((event) => events.push(event));
  return new SubscriptionLink(
    'a',
    channel.channel,
    {
      group: 'g',
      consumerId: 'c',
      broadcasting: false,
      ordered: undefined,
      leaseMs: 0,
      from: 'first',
      subscriptions: [{ topic: 'orders', tags: '*', sql: '' }],
      prefetch,
    },
    { clock, events: told },
    observer,
  );
}

/** What the broker has heard on a stream, one object for each message. */
function heard(stream: FakeStream): SubscribeRequest[] {
  return stream.written.map((bytes) => fromBinary(SubscribeRequestSchema, bytes));
}

/** The credit in messages that a stream was given in all. */
function credit(stream: FakeStream): number {
  return heard(stream).reduce((sum, { creditMessages }) => sum + creditMessages, 0);
}

function deliver(stream: FakeStream, count: number): void {
  const messages = Array.from({ length: count }, (_, i) => ({
    topicId: 7,
    offset: BigInt(i),
    message: { body: Buffer.from('x') },
  }));
  const response = create(SubscribeResponseSchema, {
    messages,
    leases: [{ topicId: 7, endOffset: BigInt(count), leaseId: 1n }],
  });
  stream.listener.message(Buffer.from(toBinary(SubscribeResponseSchema, response)));
}

/** The broker takes the subscription. */
async function stand(): Promise<void> {
  const response = create(SubscribeResponseSchema, { topics: [{ topic: 'orders', topicId: 7 }] });
  channel.stream.listener.message(Buffer.from(toBinary(SubscribeResponseSchema, response)));
  await turn();
}

const acknowledged = (offset: number): Settlement => ({
  topicId: 7,
  queueId: 0,
  first: offset,
  end: offset + 1,
  leaseId: 1,
  action: SettleAction.ACKNOWLEDGE,
  delayMs: 0,
  reason: '',
});

const broken = new MqError('UNAVAILABLE', 'connection lost', { retryable: true });

beforeEach(() => {
  clock = new ManualClock();
  channel = new FakeChannel('a:1');
  frames = [];
  refusals = [];
  events = [];
});

describe('credit', () => {
  test('is the prefetch at first, and grows with what the application takes', async () => {
    const link = open();
    expect(heard(channel.stream)[0]).toMatchObject({
      open: { group: 'g', consumerId: 'c' },
      creditMessages: 10,
      creditBytes: 10_000,
    });
    deliver(channel.stream, 4);
    link.credit(1, 20);
    link.credit(1, 20);
    await turn();
    expect(heard(channel.stream)).toHaveLength(2);
    expect(heard(channel.stream)[1]).toMatchObject({ creditMessages: 2, creditBytes: 40 });
  });

  test('of a new stream leaves out what was delivered on the old one and not taken', async () => {
    const link = open();
    deliver(channel.stream, 8);
    channel.stream.close(broken);
    await clock.advance(100);
    expect(channel.streams).toHaveLength(2);
    expect(credit(channel.stream)).toBe(2);
    await stand();
    link.credit(8, 8);
    await turn();
    expect(credit(channel.stream)).toBe(10);
  });

  test('never adds up to more than the prefetch, however often streams break', async () => {
    open();
    for (let i = 0; i < 20; i++) {
      deliver(channel.stream, credit(channel.stream));
      channel.stream.close(broken);
      await clock.advance(10_000);
    }
    expect(frames.reduce((sum, { records }) => sum + records.length, 0)).toBe(10);
  });
});

describe('settlements', () => {
  test('of one turn travel together, joined where they follow on each other', async () => {
    const link = open();
    await stand();
    for (const offset of [0, 1, 2, 5]) link.settle(acknowledged(offset));
    await turn();
    const [, request] = heard(channel.stream);
    expect(
      request?.settlements.map(({ firstOffset, endOffset }) => [firstOffset, endOffset]),
    ).toEqual([
      [0n, 3n],
      [5n, 6n],
    ]);
  });

  test('wait, and are joined, while the stream takes no more', async () => {
    const link = open();
    await stand();
    channel.stream.clogged = true;
    for (let offset = 0; offset < 100; offset++) {
      link.settle(acknowledged(offset));
      await turn();
    }
    expect(channel.stream.written).toHaveLength(2);
    channel.stream.listener.drained?.();
    await turn();
    expect(heard(channel.stream)[2]?.settlements).toMatchObject([
      { firstOffset: 1n, endOffset: 100n },
    ]);
  });

  test('that were made while no stream stood are sent once on the next one that does', async () => {
    const link = open();
    for (let i = 0; i < 3; i++) {
      link.settle(acknowledged(i));
      await turn();
      channel.stream.close(broken);
      await clock.advance(6000);
    }
    await stand();
    expect(channel.streams.slice(0, 3).flatMap(heard)).toHaveLength(3);
    expect(heard(channel.stream).flatMap((request) => request.settlements)).toMatchObject([
      { firstOffset: 0n, endOffset: 3n },
    ]);
  });

  test('are sent before the stream is ended, which waits for the broker', async () => {
    const link = open();
    link.settle(acknowledged(3));
    let closed = false;
    void link.close().then(() => {
      closed = true;
    });
    expect(heard(channel.stream)[1]?.settlements).toHaveLength(1);
    expect(channel.stream.ended).toBe(true);
    await turn();
    expect(closed).toBe(false);
    channel.stream.close();
    await turn();
    expect(closed).toBe(true);
    expect(clock.pending).toBe(0);
  });

  test('of a link that has left to another one go there', async () => {
    const link = open();
    const { stream } = channel;
    deliver(stream, 2);
    const next = open();
    link.settle(acknowledged(0));
    link.leaveTo(next);
    link.settle(acknowledged(1));
    await stand();
    expect(stream.ended).toBe(false);
    expect(stream.cancelled).toBe(true);
    expect(heard(channel.stream)[1]?.settlements).toMatchObject([
      { firstOffset: 0n, endOffset: 2n },
    ]);
  });
});

describe('a stream', () => {
  test('that breaks is opened again, with growing pauses', async () => {
    open();
    for (let i = 0; i < 5; i++) {
      channel.stream.close(broken);
      await clock.advance(6000);
    }
    expect(channel.streams).toHaveLength(6);
    expect(events.filter(({ type }) => type === 'disconnected')).toHaveLength(5);
    expect(refusals).toEqual([]);
  });

  test('that the broker refuses for good is not opened again', async () => {
    open();
    channel.stream.close(new MqError('SUBSCRIPTION_MISMATCH', 'other tags'));
    await clock.advance(10_000);
    expect(channel.streams).toHaveLength(1);
    expect(refusals.map(({ code }) => code)).toEqual(['SUBSCRIPTION_MISMATCH']);
  });

  test('that brings bytes which are no message is given up, and its credit is not lost', async () => {
    open();
    const { stream } = channel;
    stream.listener.message(Buffer.from([0x0a, 0xff]));
    expect(stream.cancelled).toBe(true);
    stream.close(broken);
    await clock.advance(100);
    expect(credit(channel.stream)).toBe(10);
  });
});
