import { create, toBinary } from '@bufbuild/protobuf';
import { PullResponseSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import type { CallOptions } from './call-time.ts';
import { MqError } from './errors.ts';
import { PullConsumer, type TopicQueue } from './pull-consumer.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { CallLimits } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';

interface PullCall {
  readonly queueId: number;
  readonly offset: bigint;
  readonly messagesMax: number;
  readonly waitMs: number;
}

let clock: ManualClock;
let channel: FakeChannel;
/** Gives the connection to a server. */
let connect: (address: string) => FakeChannel;
let consumer: PullConsumer;
/** Messages in each queue. */
let counts: number[];
let commits: { offsets: { queueId: number; offset: bigint }[] }[];
/** How long each call to the broker might take. */
let limits: CallLimits[];
const queue = (queueId: number): TopicQueue => ({ topic: 'one', broker: 'a', queueId });

async function pull(
  { queueId, offset, messagesMax, waitMs }: PullCall,
  readAt = '',
): Promise<Buffer> {
  const end = counts[queueId] ?? 0;
  if (Number(offset) >= end && waitMs > 0) {
    await new Promise<void>((resolve) => {
      clock.setTimer(waitMs, resolve);
    });
  }
  const count = Math.max(0, Math.min(messagesMax, (counts[queueId] ?? 0) - Number(offset)));
  const messages = Array.from({ length: count }, (_, i) => ({
    queueId,
    offset: offset + BigInt(i),
    message: { body: Buffer.from(`${queueId}:${Number(offset) + i}`) },
  }));
  const nextOffset = offset + BigInt(count);
  const endOffset = BigInt(end);
  const response = create(PullResponseSchema, { messages, nextOffset, endOffset, readAt });
  return Buffer.from(toBinary(PullResponseSchema, response));
}

beforeEach(async () => {
  clock = new ManualClock();
  channel = new FakeChannel('a:1');
  counts = [0, 0];
  commits = [];
  limits = [];
  channel.answer = async (method, request, given) => {
    limits.push(given);
    if (given.signal?.aborted) throw new MqError('ABORTED', 'aborted');
    if (method === 'Pull') return pull(request as PullCall);
    if (method === 'QueryOffset') return { offsets: [{ queueId: 0, offset: 1n }] };
    commits.push(request as (typeof commits)[number]);
    return {};
  };
  const routes = new FakeRoutes();
  routes.add('one', { a: 2 });
  connect = () => channel;
  const channels = { get: (address: string) => connect(address) } as unknown as Channels;
  consumer = new PullConsumer({}, { routes: routes.routes, channels, clock });
  await clock.until(
    consumer.assign([
      { ...queue(0), offset: 0 },
      { ...queue(1), offset: 0 },
    ]),
  );
});

describe('polling', () => {
  test('reads the assigned queues by turns', async () => {
    counts = [3, 3];
    const first = await clock.until(consumer.poll({ max: 2 }));
    const second = await clock.until(consumer.poll({ max: 2 }));
    expect([...first, ...second].map((message) => message.text())).toEqual([
      '0:0',
      '0:1',
      '1:0',
      '1:1',
    ]);
    expect(consumer.position(queue(0))).toBe(2);
  });

  test('goes to the slave that the master names, back from it, and not again soon once it has failed', async () => {
    counts = [30, 0];
    consumer.pause([queue(1)]);
    const asked: string[] = [];
    let slaveFails = false;
    connect = (address) => {
      const one = new FakeChannel(address);
      one.answer = async (_, request) => {
        asked.push(address);
        if (address === 's:1' && slaveFails) throw new MqError('OUT_OF_RANGE', 'lost');
        const readAt = address === 's:1' ? (asked.length >= 4 ? 'a:1' : '') : 's:1';
        return pull(request as PullCall, readAt);
      };
      return one;
    };
    const read = async (polls: number): Promise<string[]> => {
      asked.length = 0;
      for (let i = 0; i < polls; i++) await clock.until(consumer.poll({ max: 1 }));
      return [...asked];
    };
    expect(await read(5)).toEqual(['a:1', 's:1', 's:1', 's:1', 'a:1']);
    slaveFails = true;
    expect(await read(3)).toEqual(['s:1', 'a:1', 'a:1', 'a:1']);
    await clock.advance(30_000);
    slaveFails = false;
    expect(await read(2)).toEqual(['a:1', 's:1']);
    expect(consumer.position(queue(0))).toBe(10);
  });

  test('waits for the first message as long as it was told', async () => {
    const polled = consumer.poll({ waitMs: 1000 });
    expect(await clock.until(polled)).toEqual([]);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(1000);
  });

  test('gives nothing of a queue that the application has sought, paused or taken away meanwhile', async () => {
    counts = [5, 0];
    consumer.pause([queue(1)]);
    let polled = consumer.poll({ waitMs: 0 });
    await consumer.seek(queue(0), 4);
    expect(await clock.until(polled)).toEqual([]);
    expect(consumer.position(queue(0))).toBe(4);
    polled = consumer.poll({ waitMs: 0 });
    consumer.pause([queue(0)]);
    expect(await clock.until(polled)).toEqual([]);
    expect(consumer.position(queue(0))).toBe(4);
  });

  test('never moves in a queue that another one was faster than, so that no seek is undone', async () => {
    const answered = Promise.withResolvers<void>();
    channel.answer = async (_, request) => {
      const call = request as PullCall;
      if (call.waitMs === 0) return pull(call);
      await answered.promise;
      counts = [1, 1];
      return pull(call);
    };
    const polled = consumer.poll({ waitMs: 1000 });
    await clock.advance(10);
    answered.resolve();
    let over = false;
    void polled.then(() => {
      over = true;
    });
    while (!over) {
      // A seek may come between any two turns.
      expect(consumer.position(queue(1))).toBe(0);
      await Promise.resolve();
    }
    expect((await polled).map((message) => message.text())).toEqual(['0:0']);
    expect(consumer.position(queue(1))).toBe(0);
  });

  test('gives what one queue had when another fails at the same time', async () => {
    const answered = Promise.withResolvers<void>();
    channel.answer = async (_, request) => {
      const call = request as PullCall;
      if (call.waitMs === 0) return pull(call);
      if (call.queueId === 0) throw new MqError('DATA_LOSS', 'a message is damaged');
      await answered.promise;
      counts = [0, 1];
      return pull(call);
    };
    const polled = consumer.poll({ waitMs: 1000 });
    await clock.advance(10);
    answered.resolve();
    expect((await clock.until(polled)).map((message) => message.text())).toEqual(['1:0']);
    expect(consumer.position(queue(1))).toBe(1);
  });

  test('of nothing is an error that says what to do', async () => {
    consumer.pause([queue(0), queue(1)]);
    await expect(consumer.poll()).rejects.toMatchObject({ code: 'NOTHING_ASSIGNED' });
  });
});

describe('iterating', () => {
  test('keeps the position behind the message that was given last, for a commit in the loop', async () => {
    counts = [10, 0];
    const messages = consumer.messages();
    for (let i = 0; i < 3; i++) await clock.until(messages.next());
    expect(consumer.position(queue(0))).toBe(3);
    await consumer.commit('g');
    expect(commits[0]?.offsets).toContainEqual({ queueId: 0, offset: 3n });
    await messages.return(undefined);
    const rest = await clock.until(consumer.poll({ max: 100 }));
    expect(rest[0]?.offset).toBe(3);
  });

  test('goes on where the application seeks to, in the middle of a batch', async () => {
    counts = [10, 0];
    const offsets: number[] = [];
    const messages = consumer.messages();
    for (let i = 0; i < 5; i++) {
      const { value } = await clock.until(messages.next());
      offsets.push(value?.offset);
      if (i === 1) await consumer.seek(queue(0), 7);
    }
    expect(offsets).toEqual([0, 1, 7, 8, 9]);
  });

  test('loses nothing of a queue that is paused in the middle of a batch', async () => {
    counts = [4, 4];
    const texts: string[] = [];
    const messages = consumer.messages();
    for (let i = 0; i < 8; i++) {
      const { value } = await clock.until(messages.next());
      texts.push(value?.text());
      if (i === 1) consumer.pause([queue(0)]);
      if (i === 5) consumer.resume([queue(0)]);
    }
    expect(texts).toEqual(['0:0', '0:1', '1:0', '1:1', '1:2', '1:3', '0:2', '0:3']);
  });

  test('ends when it is closed or its signal aborts, and does not throw', async () => {
    const abort = new AbortController();
    const waiting = consumer.messages({ signal: abort.signal }).next();
    await clock.advance(100);
    abort.abort();
    expect((await clock.until(waiting)).done).toBe(true);
    const again = consumer.messages().next();
    await clock.advance(100);
    consumer.close();
    expect((await clock.until(again)).done).toBe(true);
    await expect(consumer.poll()).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

describe('a call', () => {
  const everyCall = (options: CallOptions): Record<string, Promise<unknown>> => ({
    assign: consumer.assign([{ ...queue(0), offset: 0 }], options),
    assignTopic: consumer.assignTopic('one', 'first', options),
    seek: consumer.seek(queue(0), 'last', options),
    commit: consumer.commit('g', options),
    seekToCommitted: consumer.seekToCommitted('g', options),
  });

  test('ends with its signal', async () => {
    for (const call of Object.values(everyCall({ signal: AbortSignal.abort() }))) {
      await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
    }
    expect(limits).toEqual([]);
  });

  test('takes no longer than it was told', async () => {
    channel.answer = async (_method, _request, given) => {
      limits.push(given);
      return { offsets: [], queues: [] };
    };
    const { signal } = new AbortController();
    await Promise.all(Object.values(everyCall({ deadlineMs: 1234, signal })));
    expect(limits).toHaveLength(4);
    for (const given of limits) expect(given).toEqual({ deadlineMs: 1234, signal });
  });

  test('for messages ends soon after its time when the broker does not answer', async () => {
    const slow = new MqError('DEADLINE_EXCEEDED', 'too slow', { retryable: true });
    channel.answer = (_method, _request, { deadlineMs }) =>
      new Promise((_resolve, reject) => {
        clock.setTimer(deadlineMs, () => reject(slow));
      });
    expect(await clock.until(consumer.poll({ waitMs: 1000 }))).toEqual([]);
    expect(clock.monotonicMs()).toBeLessThanOrEqual(6100);
  });
});
