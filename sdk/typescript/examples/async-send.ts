// Sends without waiting for one message before the next; each promise tells what became of its message.
// Run: TERN_NAMESERVER=127.0.0.1:9876 node --conditions=source async-send.ts

import { Client, isMqError } from '@ternmq/sdk';

await using client = new Client();
const producer = client.producer();

const sends = Array.from({ length: 10 }, async (_, i) => {
  try {
    const receipt = await producer.send('myTopic001', { body: `message ${i}`, tag: 'async' });
    console.log(`message ${i}: offset ${receipt.offset}`);
  } catch (error) {
    // A code to branch on, and whether trying again helps.
    if (isMqError(error))
      console.error(`message ${i}: ${error.code}, retryable: ${error.retryable}`);
    else throw error;
  }
});

// Closing waits for what is under way; here the outcomes are wanted first.
await Promise.all(sends);
