// Has a topic created by its first message's broker before that message is sent. Where brokers create topics
// automatically, one does so for a message to any queue, before it looks for the queue; so it is sent a message to a
// queue that no topic has, which it refuses without storing it. The real messages then go where the topic's route sends
// them: in their key's order, and as idempotently as all others. The call CreateTopic would not do, as it creates
// topics also where that is left to operators.

import { brokerUnreachable, isMqError } from './errors.ts';
import type { CallLimits, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';

/** A topic has at most 1,024 queues. */
const NO_QUEUE = 0xffffffff;

/** Resolves when the broker has the topic. Throws TOPIC_NOT_FOUND where topics are not created automatically. */
export async function createAsIfSent(
  channel: Channel,
  topic: string,
  limits: CallLimits,
): Promise<void> {
  const messages = [{ body: Buffer.from('create') }];
  try {
    await channel.unary(broker.send, { topic, queueId: NO_QUEUE, messages }, limits);
  } catch (error) {
    if (isMqError(error, 'QUEUE_NOT_FOUND')) return;
    if (isMqError(error, 'UNAVAILABLE') || isMqError(error, 'DEADLINE_EXCEEDED')) {
      throw brokerUnreachable(channel.address, error);
    }
    throw error;
  }
}
