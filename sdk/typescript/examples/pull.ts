// Reads a topic by offset, with the offsets in the application's hands; nothing on the broker changes but the progress
// that is committed in the end.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source pull.ts

import { Client } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();
for (let i = 0; i < 10; i++) await producer.send('myTopic004', { body: `row ${i}` });

await using pull = client.pullConsumer();
const queues = await pull.assignTopic('myTopic004', 'first');

for (let count = 0; count < 10; ) {
  for (const message of await pull.poll({ max: 4, waitMs: 1000 })) {
    console.log(`queue ${message.queueId} offset ${message.offset}: ${message.text()}`);
    count++;
  }
}

for (const queue of queues)
  console.log(`queue ${queue.queueId} goes on at ${pull.position(queue)}`);
await pull.commit('reporting');
