// `tern message tail`: the messages of a topic as they come.

import { systemClock } from '@ternmq/runtime';
import type { Command } from 'commander';
import { startPoint, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { printMessages } from './print-messages.ts';

interface TailFlags {
  readonly topic: string;
  readonly from?: 'first' | 'last' | Date;
  readonly max?: number;
  readonly tags?: string;
  readonly sql?: string;
  readonly bodies?: boolean;
}

const POLL_MESSAGES_MAX = 4096;
const POLL_WAIT_MS = 5000;

/** Adds the command. */
export function addTail(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'tail',
      summary: 'print messages as they come, until it is stopped; changes no progress',
      examples: [
        'tern message tail --topic orders',
        'tern message tail --topic orders --from begin --max 10 -o json',
        "tern message tail --topic orders --from 15m --tags 'created || paid'",
        `tern message tail --topic orders --from begin --sql "region = 'eu' AND amount > 100"`,
        'tern message tail --topic lines --from begin --max 100000 --bodies > copy.txt',
      ],
    },
    (tail) =>
      tail
        .requiredOption('--topic <topic>', 'The topic')
        .option(
          '--from <begin|end|TIME>',
          'Oldest message, those to come, or the first one at or after a time [end]',
          startPoint(systemClock.nowMs),
        )
        .option('--max <number>', 'Stop after so many messages', wholeNumber(1))
        .option('--tags <tags>', 'Only messages with these tags, joined by ||')
        .option('--sql <condition>', 'Only messages whose properties meet this SQL-92 condition')
        .option('--bodies', 'Print the bodies alone, each with a newline'),
    tail,
  );
}

async function tail({ client, flags, format }: ClientCall<TailFlags>): Promise<void> {
  const { topic, from = 'last', tags, sql, bodies } = flags;
  const consumer = client.pullConsumer({
    ...(tags === undefined ? {} : { tags }),
    ...(sql === undefined ? {} : { sql }),
  });
  await consumer.assignTopic(topic, from);
  let left = flags.max ?? Number.POSITIVE_INFINITY;
  while (left > 0) {
    const max = Math.min(left, POLL_MESSAGES_MAX);
    const messages = await consumer.poll({ max, waitMs: POLL_WAIT_MS });
    left -= messages.length;
    await printMessages(messages, bodies ? 'body' : format);
  }
}
