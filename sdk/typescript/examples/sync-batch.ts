// Sends three messages as one batch and waits for each outcome.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source sync-batch.ts

import { Client } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();

const outcomes = await producer.sendBatch('myTopic001', [
  { body: 'message 1' },
  { body: 'message 2' },
  { body: 'message 3' },
]);

for (const outcome of outcomes) {
  if (outcome.status === 'stored') {
    const { messageId, queueId, offset } = outcome.receipt;
    console.log(`stored ${messageId} in queue ${queueId} at offset ${offset}`);
  } else {
    console.error(`failed: ${outcome.error.message}`);
  }
}
