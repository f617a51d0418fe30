import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { BrokerGroup } from '../support/group.ts';

test('a broker group that is new, or was away, gets what the others have', async () => {
  await using cluster = await BrokerGroup.create({ autoCreateTopics: false });
  await cluster.start(0, 'b1');
  await cluster.ready();
  const { admin } = cluster.client();
  await admin.createTopic('orders', { queues: 3, kind: 'fifo', acknowledgement: 'local' });
  await admin.createGroup('billing', { leaseMs: 12_000, ordered: true });
  await cluster.start(0, 'b2');
  await cluster.ready();
  // Somebody has changed it there, by hand.
  using second = new BrokerClient(cluster.broker(0, 'b2').address);
  await second.call(BrokerService.method.createGroup, {
    name: 'billing',
    settings: { leaseMs: 5000, ordered: true },
  });

  const planned = await admin.repair({ dryRun: true });
  expect(planned).toMatchObject([
    { what: 'topic', name: 'orders', broker: 'b2', action: 'create' },
    { what: 'group', name: 'billing', broker: 'b2', action: 'update' },
  ]);
  expect((await admin.describeTopic('orders')).topics).toHaveLength(1);
  expect(await admin.repair()).toEqual(planned);
  expect(await admin.repair()).toEqual([]);
  const { topics } = await admin.describeTopic('orders');
  expect(topics.map(({ broker, settings }) => [broker, settings.queues, settings.kind])).toEqual([
    ['b1', 3, 'fifo'],
    ['b2', 3, 'fifo'],
  ]);
  const { groups } = await admin.describeGroup('billing');
  expect(groups.map(({ settings }) => settings.leaseMs)).toEqual([12_000, 12_000]);
  await expect(admin.repair({ like: 'nobody' })).rejects.toMatchObject({ code: 'NO_BROKER' });
  expect(cluster.fatal).toBeUndefined();
});
