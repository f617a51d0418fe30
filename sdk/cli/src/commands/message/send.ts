// `tern message send`: one message, or a file of them.

import type { Compression, OutgoingMessage, Receipt } from '@ternmq/sdk';
import { type Command, Option } from 'commander';
import { duration, futureTime, property, several, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { PartialFailure, UsageError } from '../../exit-code.ts';
import { fields, jsonLine, print } from '../../output.ts';
import type { LineFormat } from './line-message.ts';
import { linesOf } from './lines.ts';
import { sendLines } from './send-lines.ts';

interface SendFlags {
  readonly topic: string;
  readonly body?: string;
  readonly file?: string;
  readonly format: LineFormat;
  readonly key?: string[];
  readonly tag?: string;
  readonly property?: Record<string, string>;
  readonly orderingKey?: string;
  readonly delay?: number;
  readonly deliverAt?: Date;
  readonly priority?: number;
  readonly compress?: Compression;
}

/** Adds the command. */
export function addSend(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'send',
      summary: 'send a message, or every line of a file',
      examples: [
        'tern message send --topic orders --body \'{"id": 7}\' --key 7 --tag created',
        "tern message send --topic orders --body 'paid' --ordering-key customer-42 --property source=shop",
        "tern message send --topic reminders --body 'call back' --delay 30m",
        'tern message send --topic lines --file access.log',
        'zcat events.jsonl.gz | tern message send --topic events --file - --format json',
      ],
    },
    (send) =>
      send
        .requiredOption('--topic <topic>', 'The topic')
        .option('--body <text>', 'The body')
        .option('--file <path>', 'A file, each line of which is a message; - for standard input')
        .addOption(
          new Option('--format <text|json>', 'What a line of the file is: a body, or a JSON object')
            .choices(['text', 'json'])
            .default('text'),
        )
        .option('--key <key>', 'Business key; may be given several times', several)
        .option('--tag <tag>', 'Label that consumers filter by')
        .option('--property <name=value>', 'Free property; may be given several times', property)
        .option('--ordering-key <key>', 'Messages with the same key keep their order')
        .option('--delay <time>', 'Delivered so much later at the earliest', duration)
        .option('--deliver-at <time>', 'Delivered at this time at the earliest', futureTime)
        .option(
          '--priority <number>',
          'How urgent it is, for topics of --type priority: 0 to 9',
          wholeNumber(0, 9),
        )
        .addOption(
          new Option('--compress <how>', 'Compress bodies of 4 KiB and more').choices([
            'gzip',
            'zstd',
          ]),
        ),
    send,
  );
}

async function send({ client, flags, format, options }: ClientCall<SendFlags>): Promise<void> {
  const { topic, body, file } = flags;
  if ((body === undefined) === (file === undefined)) {
    throw new UsageError('give either --body or --file');
  }
  const { compress: compression } = flags;
  const producer = client.producer({
    deadlineMs: options.deadlineMs,
    ...(compression === undefined ? {} : { compression }),
  });
  const common = commonOf(flags);
  if (body !== undefined) {
    const receipt = await producer.send(topic, { ...common, body });
    return print(format === 'json' ? jsonLine(receipt) : receiptText(receipt));
  }
  const { sent, firstError } = await sendLines(
    producer,
    { topic, lines: linesOf(file ?? '-'), format: flags.format, common, ...options },
    (text) => process.stderr.write(text),
  );
  const { messages, failed, skipped, seconds } = sent;
  if (format === 'json') await print(jsonLine(sent));
  else {
    const rate = Math.round(messages / Math.max(seconds, 0.001));
    await print(`sent ${messages} messages in ${seconds.toFixed(2)} s (${rate}/s)\n`);
    if (skipped > 0) process.stderr.write(`${skipped} empty lines were skipped\n`);
  }
  if (firstError === undefined) return;
  if (messages === 0) throw firstError;
  throw new PartialFailure(`${failed} of ${messages + failed} lines were not sent`);
}

function commonOf({
  key,
  tag,
  property: properties,
  orderingKey,
  delay,
  deliverAt,
  priority,
}: SendFlags): Omit<OutgoingMessage, 'body'> {
  return {
    ...(key === undefined ? {} : { keys: key }),
    ...(tag === undefined ? {} : { tag }),
    ...(properties === undefined ? {} : { properties }),
    ...(orderingKey === undefined ? {} : { orderingKey }),
    ...(delay === undefined ? {} : { delay }),
    ...(deliverAt === undefined ? {} : { deliverAt }),
    ...(priority === undefined ? {} : { priority }),
  };
}

function receiptText({ messageId, broker, queueId, offset, duplicate }: Receipt): string {
  return fields([
    ['message id', messageId],
    ['broker', broker],
    ['queue', queueId],
    ['offset', offset],
    ...(duplicate ? ([['not stored', 'it repeats this message']] as const) : []),
  ]);
}
