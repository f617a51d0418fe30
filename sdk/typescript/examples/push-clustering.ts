// Consumes as members of one group: each message goes to one of them. Ends after ten messages.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source push-clustering.ts

import { Client } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();
for (let i = 0; i < 10; i++) await producer.send('myTopic002', { body: `order ${i}`, tag: 'paid' });

const done = Promise.withResolvers<void>();
let count = 0;
for (const name of ['first', 'second']) {
  const consumer = client.consumer('billing', { from: 'first', concurrency: 4 });
  consumer.subscribe('myTopic002', 'paid || refunded');
  // Returning acknowledges; throwing asks for another delivery later.
  consumer.run((message) => {
    console.log(`${name} member: ${message.text()} (attempt ${message.attempt})`);
    count++;
    if (count === 10) done.resolve();
  });
}
await done.promise;
