import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { seededRandom } from '@ternmq/runtime';
import { type Consumer, isMqError, Reject, RetryAfter } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type ByteStream, Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { encodeOpening } from '../../sdk/typescript/src/transport/subscription-opening.ts';
import { readDelivery } from '../../sdk/typescript/src/wire/delivery.ts';
import { BrokerClient } from '../support/broker-client.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';
import { sendKeyed } from '../support/keyed-messages.ts';
import { seedFor } from '../support/seed.ts';

let cluster: Cluster;
/** The consumers' streams, the oldest first. */
let streams: ByteStream[];
beforeEach(async () => {
  cluster = await Cluster.start();
  streams = [];
  const { bytes } = Channel.prototype;
  vi.spyOn(Channel.prototype, 'bytes').mockImplementation(function (
    this: Channel,
    method,
    listener,
  ) {
    const stream = bytes.call(this, method, listener);
    if (method === methods.subscribe) streams.push(stream);
    return stream;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await cluster[Symbol.asyncDispose]();
});

const within = { withinMs: 10_000, everyMs: 5 };
const ordered = { from: 'first', ordered: true } as const;

/** As sendKeyed, into the topic t. */
function sent(keys: readonly string[], each: number, queues = 1): Promise<void> {
  return sendKeyed(cluster.client(), keys, each, queues);
}

/** What was handled, by key; `add` checks the order: a number may be repeated, and none may be left out. */
class Ledger {
  readonly byKey = new Map<string, number[]>();
  readonly wrong: string[] = [];
  done = 0;

  add(text: string, finished: boolean): void {
    const [key = '', number = ''] = text.split('-');
    const seen = this.byKey.get(key) ?? [];
    this.byKey.set(key, seen);
    const expected = seen.length;
    // What was handled and not acknowledged in time comes again; what is next must not be left out.
    if (Number(number) > expected) this.wrong.push(`${text} came when ${key}-${expected} was next`);
    if (!finished || Number(number) !== expected) return;
    seen.push(Number(number));
    this.done++;
  }
}

describe('an ordered group', () => {
  test('gets the messages of a key one after the other, and those of others beside them', async () => {
    await sent(['a', 'b', 'c'], 20);
    const ledger = new Ledger();
    const working = new Set<string>();
    let together = 0;
    const consumer = cluster.client().consumer('g', ordered).subscribe('t');
    consumer.run(async (message) => {
      const key = message.orderingKey;
      expect(working.has(key)).toBe(false);
      working.add(key);
      together = Math.max(together, working.size);
      await new Promise((resolve) => setImmediate(resolve));
      working.delete(key);
      ledger.add(message.text(), true);
    });
    await eventually('all are handled', () => ledger.done === 60 || undefined, within);
    expect(ledger.wrong).toEqual([]);
    expect(together).toBe(3);
  });

  test('keeps a failed message’s key back until it is handled, and no other, and shows no newer one meanwhile', async () => {
    await sent(['bad', 'good'], 30);
    const ledger = new Ledger();
    const seen: string[] = [];
    let failures = 0;
    const consumer = cluster.client().consumer('g', ordered).subscribe('t');
    consumer.run((message) => {
      const text = message.text();
      seen.push(text);
      if (text === 'bad-3' && failures++ < 2) {
        ledger.add(text, false);
        throw new RetryAfter(5000);
      }
      ledger.add(text, true);
    });
    await eventually(
      'the good ones are handled',
      () => seen.includes('good-29') || undefined,
      within,
    );
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(seen.filter((text) => text.startsWith('bad'))).toEqual([
      'bad-0',
      'bad-1',
      'bad-2',
      'bad-3',
    ]);
    await eventually(
      'all are handled',
      async () => {
        await cluster.pass(1000);
        return ledger.done === 60 || undefined;
      },
      within,
    );
    expect(ledger.wrong).toEqual([]);
    expect(failures).toBe(3);
  });

  test('moves a message to the dead letters after its last delivery, and its key goes on', async () => {
    await sent(['k'], 5);
    const client = cluster.client();
    await client.admin.createGroup('g', { ordered: true, attemptsMax: 2, retryDelaysMs: [1000] });
    const handled: string[] = [];
    const consumer = client.consumer('g', ordered).subscribe('t');
    consumer.run((message) => {
      handled.push(`${message.text()} ${message.attempt}`);
      if (message.text() === 'k-1') throw new Error('always');
      if (message.text() === 'k-3') throw new Reject('no');
    });
    await eventually(
      'the last one is handled',
      async () => {
        await cluster.pass(500);
        return handled.includes('k-4 1') || undefined;
      },
      within,
    );
    expect(handled).toEqual(['k-0 1', 'k-1 1', 'k-1 2', 'k-2 1', 'k-3 1', 'k-4 1']);
    const letters: string[] = [];
    const dead = cluster.client().consumer('undertaker', { from: 'first' }).subscribe('%DLQ%g');
    dead.run((message) => {
      letters.push(message.text());
    });
    await eventually('both are buried', () => letters.length === 2 || undefined, within);
    expect(letters).toEqual(['k-1', 'k-3']);
  });

  test('keeps the order of every key while consumers come, fail and go, streams break, and the broker restarts', async () => {
    const random = seededRandom(seedFor('ordered ledger'));
    const keys = Array.from({ length: 12 }, (_, i) => `k${i}`);
    await sent(keys, 40, 3);
    const total = keys.length * 40;
    await cluster.client().admin.createGroup('g', {
      ordered: true,
      attemptsMax: 1000,
      retryDelaysMs: [200],
      leaseMs: 10_000,
    });
    const ledger = new Ledger();
    const twice: string[] = [];
    let failures = 0;
    const start = (): Consumer => {
      const working = new Set<string>();
      const consumer = cluster
        .client()
        .consumer('g', { ...ordered, prefetch: { messages: 20 }, concurrency: 4 })
        .subscribe('t');
      consumer.run(async (message) => {
        const { orderingKey: key } = message;
        if (working.has(key)) twice.push(message.text());
        working.add(key);
        const fails = random.integer(12) === 0;
        await new Promise((resolve) => setImmediate(resolve));
        working.delete(key);
        ledger.add(message.text(), !fails);
        if (fails) failures++;
        if (fails) throw new RetryAfter(200);
      });
      return consumer;
    };
    const consumers = [start(), start(), start()];
    const counts = { closed: 0, broken: 0, restarts: 0 };
    await eventually(
      'all are handled',
      async () => {
        await cluster.pass(300);
        const what = random.integer(60);
        if (what === 0 || (counts.restarts === 0 && ledger.done > total / 2)) {
          await cluster.restartBroker({ pauseMs: random.integer(8000) });
          counts.restarts++;
        } else if (what < 6) {
          consumers.push(start());
          await consumers.splice(random.integer(consumers.length), 1)[0]?.close({ drainMs: 1 });
          counts.closed++;
        } else if (what < 16 && streams.length > 0) {
          streams.splice(random.integer(streams.length), 1)[0]?.cancel();
          counts.broken++;
        }
        return ledger.done >= total || undefined;
      },
      { withinMs: 18_000, everyMs: 1 },
    );
    expect(ledger.wrong).toEqual([]);
    expect(twice).toEqual([]);
    for (const key of keys) expect(ledger.byKey.get(key)).toHaveLength(40);
    expect(counts.restarts * failures).toBeGreaterThan(0);
  });

  /** A consumer that works on the first message of a key for ever, with the others behind it. */
  async function stuckConsumer(messages: number) {
    const started = Promise.withResolvers<string>();
    const consumer = cluster.client().consumer('g', ordered).subscribe('t');
    const run = consumer.run(async (message, { signal }) => {
      started.resolve(message.text());
      await new Promise<void>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason)),
      );
    });
    expect(await started.promise).toBe('k-0');
    await inFlight(messages);
    return run;
  }

  async function inFlight(messages: number): Promise<void> {
    const { admin } = cluster.client();
    await eventually(
      `${messages} messages in flight`,
      async () => {
        const { progress } = await admin.describeGroup('g');
        return progress[0]?.inFlight === messages || undefined;
      },
      within,
    );
  }

  /** Another consumer of the group, and what it has handled with the numbers of the deliveries. */
  function secondConsumer(): string[] {
    const handled: string[] = [];
    const consumer = cluster.client().consumer('g', ordered).subscribe('t');
    consumer.run((message) => {
      handled.push(`${message.text()} ${message.attempt}`);
    });
    return handled;
  }

  /** Time enough for whatever is on its way on one machine. */
  async function settledSoon(): Promise<void> {
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  test('frees the keys of a consumer that closes at once, and what it had counts as not delivered', async () => {
    await sent(['k'], 4);
    const run = await stuckConsumer(4);
    const handled = secondConsumer();
    await eventually(
      'both are there',
      async () => {
        const { consumers } = await cluster.client().admin.describeGroup('g');
        return consumers.length === 2 || undefined;
      },
      within,
    );
    await settledSoon();
    expect(handled).toEqual([]);
    // The handler that is stuck fails as its time to drain is over; the others were not begun.
    await cluster.client().admin.updateGroup('g', { retryDelaysMs: [1] });
    await run.close({ drainMs: 1 });
    await eventually(
      'the second one goes on',
      async () => {
        await cluster.pass(1);
        return handled.length === 4 || undefined;
      },
      within,
    );
    expect(handled).toEqual(['k-0 2', 'k-1 1', 'k-2 1', 'k-3 1']);
  });

  test('frees at once what a consumer leaves unsettled that only ends its stream', async () => {
    await sent(['k'], 4);
    const { admin } = cluster.client();
    await admin.createGroup('g', { ordered: true });
    let delivered = 0;
    const channel = new Channel(cluster.broker.address);
    const stream = channel.bytes(methods.subscribe, {
      message: (bytes) => {
        delivered += readDelivery(bytes).records.length;
      },
      ended: () => {},
    });
    const opening = {
      ...{ group: 'g', consumerId: 'c', broadcasting: false, leaseMs: 0, from: 'first' as const },
      subscriptions: [{ topic: 't', tags: '*', sql: '' }],
    };
    stream.write(encodeOpening(opening, { messages: 10, bytes: 10_000 }));
    await eventually('all are delivered', () => delivered === 4 || undefined, within);
    const handled = secondConsumer();
    await eventually('both are there', () => streams[1], within);
    await settledSoon();
    expect(handled).toEqual([]);
    stream.end();
    await eventually('the second one goes on', () => handled.length === 4 || undefined, within);
    expect(handled).toEqual(['k-0 1', 'k-1 1', 'k-2 1', 'k-3 1']);
    channel.close();
  });

  test('frees the keys of a broken stream after 5 s and not before, and only the first message has failed', async () => {
    await sent(['k'], 4);
    await stuckConsumer(4);
    const handled = secondConsumer();
    await eventually('both are there', () => streams[1], within);
    // Nobody says good-bye, and nobody comes back.
    vi.spyOn(Channel.prototype, 'bytes').mockReturnValue({
      write: () => true,
      end: () => {},
      cancel: () => {},
    });
    streams[0]?.cancel();
    await eventually(
      'one is gone',
      async () => {
        const { consumers } = await cluster.client().admin.describeGroup('g');
        return consumers.length === 1 || undefined;
      },
      within,
    );
    await cluster.pass(4900);
    await settledSoon();
    expect(handled).toEqual([]);
    await cluster.pass(200);
    await eventually('the second one goes on', () => handled.length === 4 || undefined, within);
    expect(handled).toEqual(['k-0 2', 'k-1 1', 'k-2 1', 'k-3 1']);
  });

  test('goes on with what its consumer still works on, when the stream breaks and comes back in time', async () => {
    await sent(['k'], 4);
    const handled: string[] = [];
    const started = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const consumer = cluster.client().consumer('g', ordered).subscribe('t');
    consumer.run(async (message) => {
      if (message.text() === 'k-0') {
        started.resolve();
        await release.promise;
      }
      handled.push(`${message.text()} ${message.attempt}`);
    });
    await started.promise;
    await inFlight(4);
    streams[0]?.cancel();
    await eventually('it is back', () => streams[1], within);
    await cluster.pass(1000);
    release.resolve();
    await inFlight(0);
    expect(handled).toEqual(['k-0 1', 'k-1 1', 'k-2 1', 'k-3 1']);
  });

  test('delivers what waited for its key when it is ordered no more', async () => {
    await sent(['k'], 4);
    const run = await stuckConsumer(4);
    const { admin } = cluster.client();
    await admin.updateGroup('g', { retryDelaysMs: [1] });
    await run.close({ drainMs: 1 });
    await admin.updateGroup('g', { ordered: false });
    await cluster.restartBroker();
    const handled: string[] = [];
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
    consumer.run((message) => {
      handled.push(message.text());
    });
    await eventually(
      'all are handled',
      async () => {
        await cluster.pass(100);
        return handled.length === 4 || undefined;
      },
      within,
    );
    expect(handled.toSorted()).toEqual(['k-0', 'k-1', 'k-2', 'k-3']);
  });

  test('never has one key with two unary callers', async () => {
    await sent(['k', 'l'], 3);
    const client = cluster.client();
    await client.admin.createGroup('g', { ordered: true });
    using raw = new BrokerClient(`127.0.0.1:${cluster.broker.port}`);
    const receive = async (messagesMax: number): Promise<string[]> => {
      const { messages, leases } = await raw.call(BrokerService.method.receive, {
        group: 'g',
        messagesMax,
        subscription: { topic: 't', from: { target: { case: 'begin', value: {} } } },
      });
      last = { messages, leases };
      return messages.map(({ message }) => Buffer.from(message?.body ?? []).toString());
    };
    let last: Pick<Awaited<ReturnType<typeof raw.call<never, never>>>, never> & {
      messages: { topicId: number; queueId: number; offset: bigint }[];
      leases: { leaseId: bigint; firstOffset: bigint; endOffset: bigint }[];
    } = { messages: [], leases: [] };
    expect(await receive(1)).toEqual(['k-0']);
    const [held] = last.messages;
    const [lease] = last.leases;
    expect(await receive(10)).toEqual(['l-0', 'l-1', 'l-2']);
    expect(await receive(10)).toEqual([]);
    await raw.call(BrokerService.method.settle, {
      group: 'g',
      settlements: [
        {
          topicId: held?.topicId ?? 0,
          queueId: 0,
          firstOffset: held?.offset ?? 0n,
          endOffset: (held?.offset ?? 0n) + 1n,
          leaseId: lease?.leaseId ?? 0n,
          action: 1,
        },
      ],
    });
    expect(await receive(10)).toEqual(['k-1', 'k-2']);
  });

  describe('goes on with a key at once, at a consumer that waits for it, when', () => {
    /** A caller has the first message of a key, and a consumer with nothing to do waits for the second one. */
    async function waiting(attemptsMax: number) {
      await sent(['k'], 2);
      await cluster.client().admin.createGroup('g', { ordered: true, attemptsMax });
      const caller = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
      const [first] = await caller.receive({ max: 1 });
      expect(first?.text()).toBe('k-0');
      const handled = secondConsumer();
      await eventually('the consumer is there', () => streams[0], within);
      await settledSoon();
      expect(handled).toEqual([]);
      return { first: first as NonNullable<typeof first>, handled };
    }

    test('the message before is given up', async () => {
      const { first, handled } = await waiting(5);
      first.reject('no');
      await eventually('it goes on', () => handled[0], within);
      expect(handled).toEqual(['k-1 1']);
    });

    test('the message before has failed for the last time', async () => {
      const { first, handled } = await waiting(1);
      first.retry();
      await eventually('it goes on', () => handled[0], within);
      expect(handled).toEqual(['k-1 1']);
    });

    test('the last lease of the message before ends', async () => {
      const { handled } = await waiting(1);
      await cluster.pass(59_900);
      expect(handled).toEqual([]);
      await cluster.pass(200);
      await eventually('it goes on', () => handled[0], within);
      expect(handled).toEqual(['k-1 1']);
    });
  });

  test('is made, and counted on, by consumers that ask for batches, too', async () => {
    await sent(['k'], 2);
    const { admin } = cluster.client();
    const [one, other] = [1, 2].map(() => cluster.client().consumer('g', ordered).subscribe('t'));
    const [first] = (await one?.receive({ max: 1 })) ?? [];
    expect(first?.text()).toBe('k-0');
    expect((await admin.describeGroup('g')).groups[0]?.settings.ordered).toBe(true);
    expect(await other?.receive({ max: 1, waitMs: 0 })).toEqual([]);
    await admin.createGroup('plain', {});
    const wrong = cluster.client().consumer('plain', ordered).subscribe('t').receive({ waitMs: 0 });
    await expect(wrong).rejects.toMatchObject({ code: 'GROUP_ORDER_MISMATCH' });
  });

  test('refuses consumers that count on the opposite', async () => {
    await sent(['k'], 1);
    const client = cluster.client();
    await client.admin.createGroup('plain', {});
    const run = client
      .consumer('plain', ordered)
      .subscribe('t')
      .run(() => {});
    const error: unknown = await run.ended.catch((reason) => reason);
    expect(isMqError(error) && error.code).toBe('GROUP_ORDER_MISMATCH');
    await client.admin.updateGroup('plain', { ordered: true });
    const handled: string[] = [];
    client
      .consumer('plain', ordered)
      .subscribe('t')
      .run((message) => {
        handled.push(message.text());
      });
    await eventually('it is handled', () => handled[0], within);
    await expect(client.admin.updateGroup('plain', { ordered: false })).rejects.toMatchObject({
      code: 'GROUP_IN_USE',
    });
    expect(() => client.consumer('g', ordered).subscribe('t').stream()).toThrow(/cannot stream/);
  });
});
