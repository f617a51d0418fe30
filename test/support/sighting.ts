import type { StoredMessage } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { DeliveredMessage } from '@ternmq/sdk';
import { digestOf, nameIn } from './message-body.ts';
import type { Sighting } from './topic-history.ts';

/** Where a message is that a bare client got, and which. */
export function sightingOf({
  message,
  queueId: queue,
  offset,
  storeTimeMs,
}: StoredMessage): Sighting {
  const body = message?.body ?? new Uint8Array();
  const place = { queue, offset: Number(offset), storeMs: Number(storeTimeMs) };
  return { id: nameIn(body).id, digest: digestOf(body), ...place };
}

/** Where a message is that the SDK delivered, and which. */
export function deliveredSighting(message: DeliveredMessage): Sighting {
  const { body, queueId: queue, offset, storeTimeMs: storeMs } = message;
  return { id: nameIn(body).id, digest: digestOf(body), queue, offset, storeMs };
}
