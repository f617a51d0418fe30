import type { TraceEvent } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster, type ClusterOptions } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
const start = async (options: ClusterOptions = {}): Promise<void> => {
  cluster = await Cluster.start(options);
};
beforeEach(() => start());
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 5000, everyMs: 5 };
const trace = (id: string) => cluster.client().admin.traceMessage(id);
const names = (events: readonly TraceEvent[]): string[] => events.map(({ event }) => event);
const only = (events: readonly TraceEvent[], name: string): TraceEvent => {
  const found = events.filter(({ event }) => event === name);
  expect(found).toHaveLength(1);
  return found[0] as TraceEvent;
};
/** Lets what is due be done. */
async function passed(ms: number): Promise<void> {
  await cluster.pass(ms);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}
/** The trace, once it has an event. */
const traceWith = (id: string, name: string) =>
  eventually(
    `the trace has ${name}`,
    async () => {
      const found = await trace(id);
      return names(found.events).includes(name) ? found : undefined;
    },
    within,
  );

describe('the trace of a message', () => {
  test('tells when it was stored, who got it, and that it was acknowledged, and nothing of others', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const producer = client.producer();
    await producer.send('t', { body: 'before' });
    const storedMs = cluster.clock.nowMs();
    const { messageId } = await producer.send('t', { body: 'x' });
    await producer.send('t', { body: 'after' });
    const consumer = client.consumer('g', { from: 'first', consumerId: 'one' }).subscribe('t');
    await passed(1000);
    const messages = await consumer.receive({ max: 3 });
    await passed(500);
    for (const message of messages) await message.ack();
    const { events, ...rest } = await traceWith(messageId, 'acknowledged');
    expect(names(events)).toEqual(['stored', 'progress set', 'leased', 'acknowledged']);
    expect(rest).toEqual({ beginningGone: false, lostBytes: 0, truncated: false });
    expect(only(events, 'stored')).toMatchObject({
      timeMs: storedMs,
      messageId,
      topic: 't',
      address: '127.0.0.1',
    });
    const leased = only(events, 'leased');
    expect(leased).toMatchObject({ group: 'g', attempt: 1, timeMs: storedMs + 1000 });
    expect(leased.consumerId).not.toBe('');
    expect(leased.untilMs).toBeGreaterThan(leased.timeMs);
    expect(only(events, 'acknowledged')).toMatchObject({ group: 'g', timeMs: storedMs + 1500 });
  });

  test('tells failures, leases that ended, and the dead letter, and follows it there', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    await client.admin.createGroup('g', { attemptsMax: 2, retryDelaysMs: [1000], leaseMs: 5000 });
    const { messageId } = await client.producer().send('t', { body: 'bad', tag: 'a' });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    await consumer.receive();
    await passed(5200);
    const first = await traceWith(messageId, 'lease ended');
    expect(only(first.events, 'lease ended').untilMs).toBeGreaterThan(0);
    await passed(1200);
    const [again] = await consumer.receive();
    expect(again?.attempt).toBe(2);
    again?.retry();
    const { events } = await traceWith(messageId, 'dead-lettered');
    const dead = only(events, 'dead-lettered');
    expect(dead).toMatchObject({ group: 'g', attempt: 2, otherTopic: '%DLQ%g' });
    expect(dead.reason).toMatch(/failed 2 times/);
    const undertaker = client.consumer('u', { from: 'first' }).subscribe('%DLQ%g');
    const [letter] = await undertaker.receive();
    expect(letter?.messageId).toBe(dead.otherId);
    await letter?.ack();
    const whole = await traceWith(messageId, 'acknowledged');
    expect(only(whole.events, 'acknowledged')).toMatchObject({
      messageId: dead.otherId,
      topic: '%DLQ%g',
      group: 'u',
    });
    const ofLetter = await trace(dead.otherId);
    expect(ofLetter.events[0]).toMatchObject({ event: 'stored', otherId: messageId, address: '' });
    expect(names(ofLetter.events).at(-1)).toBe('acknowledged');
  });

  test('tells of a filter that passed it over, and of progress that was set', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const producer = client.producer();
    const { messageId } = await producer.send('t', { body: 'x', tag: 'a' });
    await producer.send('t', { body: 'y', tag: 'b' });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t', 'b');
    expect(await consumer.receive()).toHaveLength(1);
    await client.admin.resetGroup({ group: 'g', topic: 't', to: 'first' });
    const { events } = await traceWith(messageId, 'filtered');
    expect(names(events)).toEqual(['stored', 'progress set', 'filtered', 'progress set']);
    expect(events.at(-1)).toMatchObject({ group: 'g', offset: 0 });
  });

  test('of a delayed one goes on where it was released; of a recalled one it ends', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const producer = client.producer();
    const nowMs = cluster.clock.nowMs();
    const kept = await producer.send('t', { body: 'x', delay: 1000 });
    const recalled = await producer.send('t', { body: 'y', delay: 9000 });
    await producer.recall(recalled.messageId);
    await passed(1200);
    const { events } = await traceWith(kept.messageId, 'released');
    expect(names(events)).toEqual(['held', 'released']);
    expect(events[0]).toMatchObject({ untilMs: nowMs + 1000, address: '127.0.0.1' });
    const { otherId } = only(events, 'released');
    expect((await client.admin.getMessage(otherId)).text()).toBe('x');
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    const [message] = await consumer.receive();
    await message?.ack();
    const whole = await traceWith(kept.messageId, 'acknowledged');
    expect(only(whole.events, 'acknowledged').messageId).toBe(otherId);
    expect(names((await trace(recalled.messageId)).events)).toEqual(['held', 'recalled']);
  });

  test('of a transaction tells how it was decided', async () => {
    const client = cluster.client();
    const producer = client.producer({ group: 'p', checkTransaction: () => 'unknown' });
    const failed = producer.transaction('t', { body: 'x' }, () => {
      throw new Error('no');
    });
    await failed.catch(() => {});
    const [transaction] = await client.admin.listTransactions();
    const { events } = await trace(transaction?.transactionId ?? '');
    expect(names(events)).toEqual(['held', 'transaction begun', 'rolled back']);
  });

  test('is the same after a restart', async () => {
    const client = cluster.client();
    const { messageId } = await client.producer().send('t', { body: 'x' });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    const [message] = await consumer.receive();
    await message?.ack();
    const before = await traceWith(messageId, 'acknowledged');
    await cluster.restartBroker();
    expect(await trace(messageId)).toEqual(before);
  });

  test('says so when older parts of the log are gone', async () => {
    await cluster[Symbol.asyncDispose]();
    await start({
      broker: { segmentSize: '16MiB', retention: '1h', retentionInterval: '10s' },
    });
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const producer = client.producer();
    const settled = await producer.send('t', { body: 'settled' });
    const kept = await producer.send('t', { body: 'kept' });
    const consumer = client.consumer('g', { from: 'first', leaseMs: 43_200_000 }).subscribe('t');
    const [one] = await consumer.receive({ max: 1 });
    await one?.ack();
    await consumer.receive({ max: 1 });
    const body = Buffer.alloc(4 << 20, 1);
    for (let i = 0; i < 6; i++) await producer.send('other', { body });
    await passed(2 * 3_600_000);
    await eventually(
      'retention has deleted the first segment',
      async () => {
        await passed(10_000);
        const [queue] = (await client.admin.describeTopic('t')).queues;
        return queue?.beginOffset === 2 ? true : undefined;
      },
      within,
    );
    const gone = await trace(settled.messageId);
    expect(gone).toMatchObject({ beginningGone: true });
    expect(names(gone.events)).not.toContain('stored');
    const copied = await trace(kept.messageId);
    expect(copied.beginningGone).toBe(true);
    expect(copied.events.some(({ messageId }) => messageId === kept.messageId)).toBe(true);
  });

  test('is refused for an id that never was, and many at a time all end', async () => {
    const client = cluster.client();
    const { messageId } = await client.producer().send('t', { body: 'x' });
    await expect(trace('nonsense')).rejects.toMatchObject({ code: 'INVALID_MESSAGE_ID' });
    await expect(trace(`${messageId.slice(0, -2)}ff`)).rejects.toMatchObject({
      code: 'MESSAGE_NOT_FOUND',
    });
    const admin = client.admin;
    const all = await Promise.all(Array.from({ length: 12 }, () => admin.traceMessage(messageId)));
    for (const { events } of all) expect(names(events)).toEqual(['stored']);
  });
});
