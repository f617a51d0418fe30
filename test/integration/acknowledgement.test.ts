// When senders are answered: by the group's option, and by what a topic asks for.

import { afterEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';

let group: BrokerGroup;

afterEach(async () => {
  await group[Symbol.asyncDispose]();
  expect(group.fatal).toBeUndefined();
});

async function startPair(flags: Readonly<Record<string, unknown>>): Promise<void> {
  group = await BrokerGroup.create(flags);
  await group.start(0);
  await group.start(1);
  await group.ready();
  await group.inSync([0, 1]);
}

test('a topic that asks for less is answered while the others wait for a slave, and its messages are shown when the slave has them', async () => {
  await startPair({});
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 1 });
  await client.admin.createTopic('clicks', { queues: 1, acknowledgement: 'local' });
  await client.admin.createTopic('beats', { queues: 1, acknowledgement: 'async' });
  const producer = client.producer({ deadlineMs: 20_000 });
  await producer.send('orders', { body: 'before' });
  await group.stop(1);

  let answered = false;
  const order = producer.send('orders', { body: 'waits' }).then(() => {
    answered = true;
  });
  // On the same stream, behind the one that waits.
  await producer.send('clicks', { body: 'answered' });
  await producer.send('beats', { body: 'answered' });
  expect(answered).toBe(false);
  const topics = group.broker(0).roles.replica?.state.topics;
  const shown = (topic: string) => topics?.find(topic)?.queues[0]?.visibleEnd;
  expect([shown('clicks'), shown('beats')]).toEqual([0, 0]);

  await group.start(1);
  await order;
  await eventually(
    'all is shown',
    () => (shown('clicks') === 1 && shown('beats') === 1 ? true : undefined),
    { withinMs: 5000, everyMs: 5 },
  );
});

test.each(['local', 'async'] as const)(
  'a topic of a group that answers %s may ask for the in-sync members, and is refused while they are too few',
  async (acknowledge) => {
    await startPair({ acknowledge, minInSync: 2 });
    const client = group.client();
    await client.admin.createTopic('orders', { queues: 1, acknowledgement: 'in-sync' });
    const producer = client.producer({ deadlineMs: 20_000 });
    for (let i = 1; i <= 20; i++) {
      const { offset } = await producer.send('orders', { body: `order ${i}` });
      expect(group.broker(1).roles.replica?.state.topics.find('orders')?.queues[0]?.next).toBe(i);
      expect(offset).toBe(i - 1);
    }
    await group.stop(1);
    await producer.send('clicks', { body: 'answered' });
    expect(group.broker(0).notReady()).toEqual([]);
    let answered = false;
    const order = producer.send('orders', { body: 'waits' }).then(() => {
      answered = true;
    });
    await producer.send('clicks', { body: 'answered' });
    expect(answered).toBe(false);
    await group.start(1);
    await order;

    await group.stop(1);
    await client.admin.removeReplica('b1', 1);
    await expect(
      producer.send('orders', { body: 'refused' }, { deadlineMs: 300 }),
    ).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' });
    await producer.send('clicks', { body: 'answered' });
    const [topic] = await client.admin.updateTopic('orders', { acknowledgement: 'group' });
    expect(topic?.settings.acknowledgement).toBe('group');
    await producer.send('orders', { body: 'answered' });
  },
);
