import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type MergeProgressRequestSchema,
  ReplicationService,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Cluster } from '../support/cluster.ts';

let cluster: Cluster;
let direct: BrokerClient;
beforeEach(async () => {
  cluster = await Cluster.start();
  direct = new BrokerClient(cluster.broker.address);
});
afterEach(async () => {
  direct[Symbol.dispose]();
  await cluster[Symbol.asyncDispose]();
});

const merge = (request: MessageInitShape<typeof MergeProgressRequestSchema>) =>
  direct.call(ReplicationService.method.mergeProgress, { brokerName: 'broker-a', ...request });

/** What a slave tells of the first progress that there is. */
const settled = (...bounds: [bigint, bigint][]) => ({
  progressId: 1,
  queueId: 0,
  ranges: bounds.map(([firstOffset, endOffset]) => ({ firstOffset, endOffset })),
});

async function receive(max = 32): Promise<number[]> {
  await using consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
  return (await consumer.receive({ max, waitMs: 0 })).map(({ offset }) => offset);
}

test('what was settled at a slave is settled, what lies between is delivered, and a trace tells it', async () => {
  const client = cluster.client();
  await client.admin.createTopic('t', { queues: 1 });
  const producer = client.producer();
  const receipts = [];
  for (let i = 0; i < 10; i++) receipts.push(await producer.send('t', { body: `${i}` }));
  expect(await receive(3)).toEqual([0, 1, 2]);
  await merge({ queues: [settled([0n, 2n], [5n, 8n])] });
  expect((await receive()).sort()).toEqual([3, 4, 8, 9]);
  const { events } = await client.admin.traceMessage(receipts[6]?.messageId ?? '');
  expect(events.at(-1)).toMatchObject({
    event: 'acknowledged',
    reason: 'at a slave, while the group had no master',
  });
  await client.admin.resetGroup({ group: 'g', topic: 't', to: 'first' });
  await merge({ queues: [settled([0n, 2n], [5n, 8n])] });
  expect(await receive()).toHaveLength(10);
});

test('what is not known, or not there, is passed over; what makes no sense is refused', async () => {
  const client = cluster.client();
  await client.admin.createTopic('t', { queues: 1 });
  await client.producer().send('t', { body: 'x' });
  expect(await receive()).toEqual([0]);
  await merge({
    queues: [settled([0n, 99n]), { ...settled([0n, 1n]), progressId: 7 }, settled([5n, 6n])],
  });
  await client.producer().send('t', { body: 'y' });
  expect(await receive()).toEqual([1]);
  await expect(merge({ brokerName: 'other' })).rejects.toThrow(/not of other/);
  await expect(merge({ queues: [settled([0n, 1n], [1n, 2n])] })).rejects.toThrow(/do not touch/);
});
