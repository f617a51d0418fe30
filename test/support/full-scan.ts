import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { BrokerClient } from './broker-client.ts';
import type { LedgerEvent } from './ledger-event.ts';
import { digestOf, nameIn } from './message-body.ts';

/** The reader's number of whoever reads every queue from begin to end. */
export const FULL_SCAN = 0;

/** What all queues of a topic hold, as events of the reader 0. */
export async function* fullScan(client: BrokerClient, topic: string): AsyncGenerator<LedgerEvent> {
  const { queues } = await client.call(BrokerService.method.describeTopic, { name: topic });
  for (const { queueId, beginOffset, endOffset } of queues) {
    const begin = Number(beginOffset);
    yield { kind: 'range', queue: queueId, begin, offset: Number(endOffset) };
  }
  for await (const { message, queueId, offset } of client.readAll(topic)) {
    const body = message?.body ?? new Uint8Array();
    const place = { queue: queueId, offset: Number(offset) };
    const digest = digestOf(body);
    yield { kind: 'received', reader: FULL_SCAN, ...nameIn(body), ...place, digest };
  }
}
