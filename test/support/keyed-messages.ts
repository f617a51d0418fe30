// Messages with ordering keys, whose bodies tell their place in the order.

import type { Client } from '@ternmq/sdk';

/** Sends messages named key-number to the topic t, those of each key in the order of their numbers. */
export async function sendKeyed(
  client: Client,
  keys: readonly string[],
  each: number,
  queues = 1,
): Promise<void> {
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
