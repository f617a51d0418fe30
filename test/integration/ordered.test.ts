import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { isMqError, Reject, RetryAfter } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 10_000, everyMs: 5 };
const ordered = { from: 'first', ordered: true } as const;

/** Sends messages named key-number, those of each key in the order of their numbers. */
async function sent(keys: readonly string[], each: number, queues = 1): Promise<void> {
  const client = cluster.client();
  await client.admin.createTopic('t', { queues });
  const producer = client.producer();
  const sends: Promise<unknown>[] = [];
  for (let i = 0; i < each; i++) {
    for (const key of keys) {
      sends.push(producer.send('t', { body: `${key}-${i}`, orderingKey: key }));
    }
  }
  await Promise.all(sends);
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
    const dead = cluster.client().consumer('undertaker', { from: 'first' }).subscribe('%DLQ%g');
    const letters: string[] = [];
    await eventually(
      'both are dead letters',
      async () => {
        for (const letter of await dead.receive({ max: 5, waitMs: 0 })) letters.push(letter.text());
        return letters.length === 2 || undefined;
      },
      within,
    );
    expect(letters).toEqual(['k-1', 'k-3']);
  });

  test('that stops keeps the key back after the last delivery, says so, and goes on when it is released', async () => {
    await sent(['k', 'l'], 3);
    const client = cluster.client();
    await client.admin.createGroup('g', {
      ordered: true,
      exhausted: 'stop',
      attemptsMax: 1,
      retryDelaysMs: [1000],
    });
    const handled: string[] = [];
    let healthy = false;
    const consumer = client.consumer('g', ordered).subscribe('t');
    consumer.run((message) => {
      handled.push(message.text());
      if (message.text() === 'k-0' && !healthy) throw new Error('not yet');
    });
    const [stopped] = await eventually(
      'it is stopped',
      async () => {
        const { stopped } = await client.admin.describeGroup('g');
        return stopped.length > 0 ? stopped : undefined;
      },
      within,
    );
    expect(stopped).toMatchObject({ topic: 't', queueId: 0, offset: 0, attempts: 1 });
    await eventually('the other key goes on', () => handled.includes('l-2') || undefined, within);
    await cluster.pass(60_000);
    expect(handled.filter((text) => text.startsWith('k'))).toEqual(['k-0']);
    await cluster.restartBroker();
    const { stopped: still } = await client.admin.describeGroup('g');
    expect(still).toHaveLength(1);
    healthy = true;
    await client.admin.releaseStopped('g', stopped as NonNullable<typeof stopped>);
    await eventually(
      'the key goes on',
      async () => {
        await cluster.pass(500);
        return handled.includes('k-2') || undefined;
      },
      within,
    );
    expect(handled.filter((text) => text.startsWith('k'))).toEqual(['k-0', 'k-0', 'k-1', 'k-2']);
    const again = client.admin.releaseStopped('g', stopped as NonNullable<typeof stopped>);
    await expect(again).rejects.toMatchObject({ code: 'NOT_STOPPED' });
  });

  test('keeps the order of every key while consumers come, fail and go, and the broker restarts', async () => {
    const keys = Array.from({ length: 12 }, (_, i) => `k${i}`);
    await sent(keys, 40, 3);
    const total = keys.length * 40;
    const client = cluster.client();
    await client.admin.createGroup('g', { ordered: true, attemptsMax: 1000, retryDelaysMs: [200] });
    const ledger = new Ledger();
    let turn = 0;
    const start = () => {
      const consumer = cluster
        .client()
        .consumer('g', { ...ordered, prefetch: { messages: 20 }, concurrency: 4 })
        .subscribe('t');
      consumer.run(async (message) => {
        if (message.settled) return;
        const fails = turn++ % 17 === 0;
        await new Promise((resolve) => setImmediate(resolve));
        ledger.add(message.text(), !fails);
        if (fails) throw new RetryAfter(200);
      });
      return consumer;
    };
    const consumers = [start(), start()];
    let rounds = 0;
    await eventually(
      'all are handled',
      async () => {
        await cluster.pass(300);
        rounds++;
        if (rounds % 10 === 0) await consumers.shift()?.close();
        if (rounds % 10 === 5) consumers.push(start());
        if (rounds === 12) await cluster.restartBroker();
        return ledger.done >= total || undefined;
      },
      { withinMs: 15_000, everyMs: 1 },
    );
    expect(ledger.wrong).toEqual([]);
    for (const key of keys) expect(ledger.byKey.get(key)).toHaveLength(40);
  });

  test('frees the keys of a consumer that closes at once, and those of a broken stream after 5 s', async () => {
    await sent(['k'], 4);
    const stuck: string[] = [];
    const first = cluster.client().consumer('g', ordered).subscribe('t');
    const run = first.run(async (message, { signal }) => {
      stuck.push(message.text());
      await new Promise<void>((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason)),
      );
    });
    await eventually('the first one works', () => stuck[0], within);
    const handled: string[] = [];
    const second = cluster.client().consumer('g', ordered).subscribe('t');
    second.run((message) => {
      handled.push(message.text());
    });
    await cluster.pass(1000);
    expect(handled).toEqual([]);
    await run.close({ drainMs: 1 });
    await eventually(
      'the second one goes on',
      async () => {
        await cluster.pass(200);
        return handled.length === 4 || undefined;
      },
      within,
    );
    expect(handled).toEqual(['k-0', 'k-1', 'k-2', 'k-3']);
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
