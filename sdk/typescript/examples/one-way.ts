// Sends and does not wait: for data that may get lost, such as measurements.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source one-way.ts

import { Client } from '@ternmq/sdk';

await using client = new Client({
  onEvent: (event) => {
    if (event.type === 'sendFailed') console.error(`lost: ${event.error.message}`);
  },
});
const producer = client.producer();

for (let i = 0; i < 100; i++) {
  producer.sendOneWay('myTopic001', { body: `temperature ${20 + (i % 5)}`, tag: 'sensor' });
}
console.log('sent 100 messages one-way');
