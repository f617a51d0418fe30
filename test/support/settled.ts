import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { BrokerClient } from './broker-client.ts';

/** Has a group settled everything in all queues of a topic? */
export async function hasSettled(
  client: BrokerClient,
  group: string,
  topic: string,
  queueCount: number,
): Promise<boolean> {
  const { queues } = await client.call(BrokerService.method.getOffset, { group, topic });
  return queues.length === queueCount && queues.every(({ lag }) => lag === 0n);
}
