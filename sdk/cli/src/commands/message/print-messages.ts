// Prints many messages.

import { once } from 'node:events';
import type { ReceivedMessage } from '@ternmq/sdk';
import { type MessageFormat, messageBytes } from './message-text.ts';

/** Prints messages to standard output; waits when its reader is slow. */
export async function printMessages(
  messages: readonly ReceivedMessage[],
  format: MessageFormat,
): Promise<void> {
  if (messages.length === 0) return;
  const parts = messages.map((message) => messageBytes(message, format));
  const bytes =
    format === 'body'
      ? Buffer.concat(parts as Buffer[])
      : Buffer.from((parts as string[]).join(''));
  if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
}
