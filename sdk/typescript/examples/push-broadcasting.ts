// Consumes in broadcasting mode: every member gets every message, and has progress of its own under its name.
// Ends when both have seen all.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source push-broadcasting.ts

import { Client } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();
for (let i = 0; i < 5; i++) await producer.send('myTopic003', { body: `price ${i}` });

const caches = ['cache-1', 'cache-2'].map((consumerId) => {
  const done = Promise.withResolvers<void>();
  let count = 0;
  client
    .consumer('price-caches', { mode: 'broadcasting', consumerId, from: 'first' })
    .subscribe('myTopic003')
    .run((message) => {
      console.log(`${consumerId}: ${message.text()}`);
      count++;
      if (count === 5) done.resolve();
    });
  return done.promise;
});
await Promise.all(caches);
