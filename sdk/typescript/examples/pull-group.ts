// Reads a topic by offset together with others: its queues are shared among the members of the group, and go to others
// when a member leaves.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source pull-group.ts

import { Client } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();
for (let i = 0; i < 10; i++) await producer.send('myTopic005', { body: `row ${i}` });

const reading = Promise.withResolvers<void>();
await using member = client.pullConsumer('reporting', {
  onAssigned: (queues) => {
    for (const queue of queues)
      console.log(`queue ${queue.queueId} is read from ${member.position(queue)}`);
    reading.resolve();
  },
  onRevoked: (queues) => console.log(`${queues.length} queues go to others`),
});
member.subscribe('myTopic005', { strategy: 'circle', from: 'first' });
await reading.promise;

for (let count = 0; count < 10; ) {
  for (const message of await member.poll({ max: 4, waitMs: 1000 })) {
    console.log(`queue ${message.queueId} offset ${message.offset}: ${message.text()}`);
    count++;
  }
}
await member.commit();
