import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';

let group: BrokerGroup;

beforeEach(async () => {
  group = await BrokerGroup.create();
});
afterEach(async () => {
  await group[Symbol.asyncDispose]();
  expect(group.fatal).toBeUndefined();
});

async function sameLogs(ids: readonly number[]): Promise<void> {
  await eventually(
    'the slaves have what the master has',
    () =>
      ids.every(
        (id) =>
          group.broker(id).roles.replica?.log.durable ===
          group.broker(ids[0] as number).roles.replica?.log.next,
      )
        ? true
        : undefined,
    { withinMs: 10_000, everyMs: 10 },
  );
  const [first, ...others] = ids.map((id) => group.logOf(id));
  for (const other of others) {
    expect([...other.keys()]).toEqual([...(first?.keys() ?? [])]);
    for (const [file, bytes] of other) expect(bytes.equals(first?.get(file) as Buffer)).toBe(true);
  }
}

describe('a slave with fixed roles', () => {
  test('has the log of its master byte by byte, the same state, and serves reads', async () => {
    await group.start(0);
    await group.start(1);
    await group.ready();
    await group.inSync([0, 1]);
    const client = group.client();
    await client.admin.createTopic('orders', { queues: 2 });
    await using producer = client.producer();
    const receipts = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        producer.send('orders', { body: `order ${i}`, keys: [`k${i}`] }),
      ),
    );
    await sameLogs([0, 1]);
    const { replica } = group.broker(1).roles;
    const topic = replica?.state.topics.find('orders');
    expect(topic?.queues.map(({ next }) => next).reduce((sum, next) => sum + next, 0)).toBe(300);
    await eventually(
      'what is confirmed is shown on the slave',
      () => (topic?.queues.every(({ visibleEnd, next }) => visibleEnd === next) ? true : undefined),
      { withinMs: 5000, everyMs: 5 },
    );
    expect(new Set(receipts.map(({ messageId }) => messageId)).size).toBe(300);
  });

  test('an acknowledged message is durable on every in-sync member', async () => {
    await group.start(0);
    await group.start(1);
    await group.ready();
    await group.inSync([0, 1]);
    const client = group.client();
    await using producer = client.producer();
    for (let i = 0; i < 20; i++) {
      await producer.send('orders', { body: `order ${i}` });
      const { log } = group.broker(0).roles.replica ?? {};
      expect(group.broker(1).roles.replica?.log.durable).toBeGreaterThanOrEqual(log?.visible ?? 1);
    }
  });

  test('that is gone holds back acknowledgements, since the set never shrinks by itself, and they come when it is back', async () => {
    await group.start(0);
    await group.start(1);
    await group.ready();
    await group.inSync([0, 1]);
    const client = group.client();
    await using producer = client.producer({ deadlineMs: 20_000 });
    await producer.send('orders', { body: 'before' });
    await group.stop(1);
    let acknowledged = false;
    const sent = producer.send('orders', { body: 'during' }).then(() => {
      acknowledged = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(acknowledged).toBe(false);
    await group.start(1);
    await sent;
    await sameLogs([0, 1]);
  });

  test('that is lost is waited for until an operator takes it out of the set', async () => {
    await group.start(0);
    await group.start(1);
    await group.ready();
    await group.inSync([0, 1]);
    const client = group.client();
    await using producer = client.producer({ deadlineMs: 20_000 });
    await producer.send('orders', { body: 'before' });
    await expect(client.admin.removeReplica('b1', 1)).rejects.toMatchObject({
      code: 'REPLICA_CONNECTED',
    });
    await group.stop(1);
    const waiting = producer.send('orders', { body: 'waits' });
    expect(await client.admin.removeReplica('b1', 1)).toEqual([0]);
    expect(await waiting).toMatchObject({ broker: 'b1' });
    await group.start(1);
    await group.inSync([0, 1]);
  });

  test('serves reads when its master is gone, as far as they were confirmed', async () => {
    await group.start(0);
    await group.start(1);
    await group.ready();
    await group.inSync([0, 1]);
    const client = group.client();
    await client.admin.createTopic('orders', { queues: 1 });
    await using producer = client.producer();
    for (let i = 0; i < 10; i++) await producer.send('orders', { body: `order ${i}` });
    await sameLogs([0, 1]);
    await group.stop(0);
    const slave = new BrokerClient(group.broker(1).address);
    const { queues } = await slave.call(BrokerService.method.describeTopic, { name: 'orders' });
    expect(queues[0]?.endOffset).toBe(10n);
    const refused = slave.call(BrokerService.method.createTopic, { name: 'other' });
    await expect(refused).rejects.toThrow(/does not lead its group/);
    slave[Symbol.dispose]();
  });

  test('takes what it missed from the disk, over many segments, also when it was wiped', async () => {
    await group.start(0);
    const client = group.client();
    await using producer = client.producer();
    const body = 'x'.repeat(100_000);
    const send = (count: number) =>
      Promise.all(Array.from({ length: count }, () => producer.send('orders', { body })));
    await send(400);
    await group.start(1);
    await group.inSync([0, 1]);
    await sameLogs([0, 1]);
    await group.stop(1);
    const { rmSync } = await import('node:fs');
    rmSync(group.dataOf(1), { recursive: true });
    await group.start(1);
    await group.ready();
    await send(10);
    await sameLogs([0, 1]);
  });

  test('with a log of its own that is another one puts that aside, and takes its master’s', async () => {
    await group.start(0, 'b1');
    await group.start(0, 'other');
    await group.ready();
    const client = group.client();
    await client.admin.createTopic('orders', { queues: 2 });
    await using producer = client.producer();
    for (let i = 0; i < 20; i++) await producer.send('orders', { body: `order ${i}` });
    const { replica } = group.broker(0, 'other').roles;
    const end = replica?.log.next ?? 0;
    expect(end).toBeGreaterThan(500);
    await group.stop(0, 'other');
    // Somebody gives a member of one group the data folder of another: nothing of it is deleted.
    renameSync(group.dataOf(0, 'other'), group.dataOf(1, 'b1'));
    await group.start(1, 'b1');
    await group.inSync([0, 1]);
    await sameLogs([0, 1]);
    const [aside] = readdirSync(join(group.dataOf(1), 'divergent'));
    expect(aside).toMatch(/^log-0-\d+-epoch-\d+$/);
  });

  test('begins anew when the master no longer keeps what it lacks, from the snapshot in the log', async () => {
    await group[Symbol.asyncDispose]();
    group = await BrokerGroup.create({ retentionBytes: '20MiB', retentionInterval: '100ms' });
    await group.start(0);
    const client = group.client();
    await using producer = client.producer();
    const body = 'x'.repeat(100_000);
    for (let i = 0; i < 12; i++) {
      await Promise.all(Array.from({ length: 60 }, () => producer.send('orders', { body })));
    }
    await eventually(
      'old segments are deleted',
      () => ((group.broker(0).roles.replica?.log.start ?? 0) > 0 ? true : undefined),
      { withinMs: 10_000, everyMs: 20 },
    );
    await group.start(1);
    await group.inSync([0, 1]);
    await producer.send('orders', { body: 'newest' });
    await sameLogs([0, 1]);
    const [master, slave] = [0, 1].map((id) =>
      group
        .broker(id)
        .roles.replica?.state.topics.find('orders')
        ?.queues.map(({ next }) => next),
    );
    expect(slave).toEqual(master);
  });

  test('cuts what its master never had, and keeps it aside', async () => {
    await group.start(0);
    await group.start(1);
    await group.inSync([0, 1]);
    const client = group.client();
    await using producer = client.producer();
    await producer.send('orders', { body: 'both' });
    await sameLogs([0, 1]);
    await group.stop(0);
    // As if the master had sent records that it lost in a power failure.
    const { log } = group.broker(1).roles.replica ?? {};
    const end = log?.next ?? 0;
    await group.stop(1);
    const { CommitLog } = await import('../../services/broker/src/log/commit-log.ts');
    const { LOG_DEFAULTS } = await import('../../services/broker/src/log/log-options.ts');
    const { nodeDisk, systemClock } = await import('@ternmq/runtime');
    const folder = group.dataOf(1);
    const opened = await CommitLog.open(
      { ...LOG_DEFAULTS, folder, segmentBytes: 16 << 20, following: true },
      { disk: nodeDisk, clock: systemClock },
      undefined,
      () => {},
    );
    const epoch = opened.log.epoch;
    await opened.log.close();
    const lost = await CommitLog.open(
      { ...LOG_DEFAULTS, folder, segmentBytes: 16 << 20 },
      { disk: nodeDisk, clock: systemClock },
      { position: end, epoch },
      () => {},
    );
    const { StateRecordSchema } = await import('@ternmq/proto/gen/ternmq/log/v1/log_pb');
    const { create, toBinary } = await import('@bufbuild/protobuf');
    const record = create(StateRecordSchema, {
      timeMs: BigInt(Date.now()),
      change: {
        case: 'epochBegun',
        value: {
          $typeName: 'ternmq.log.v1.EpochBegun',
          epoch: lost.log.epoch,
          startPosition: BigInt(end),
          nonce: 1n,
        },
      },
    });
    lost.log.append(0x12, toBinary(StateRecordSchema, record));
    await lost.log.close();

    await group.start(0);
    await group.start(1);
    await group.ready();
    await producer.send('orders', { body: 'after' });
    await sameLogs([0, 1]);
    expect(group.broker(1).roles.divergentBytes).toBeGreaterThan(0);
  });
});
