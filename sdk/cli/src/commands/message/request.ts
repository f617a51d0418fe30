// `tern message request` and `tern message reply`: ask with a message, and answer one.

import type { Reply } from '@ternmq/sdk';
import type { Command } from 'commander';
import { property, several } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { jsonLine, print } from '../../output.ts';
import { bodyJson } from './message-text.ts';

interface RequestFlags {
  readonly topic: string;
  readonly body: string;
  readonly key?: string[];
  readonly tag?: string;
  readonly property?: Record<string, string>;
  readonly orderingKey?: string;
}

/** Adds the command that asks. */
export function addRequest(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'request',
      summary: 'send a message, and print what its consumer answers',
      examples: [
        "tern message request --topic prices --body 'tea?'",
        "tern message request --topic prices --body 'tea?' --timeout 30s -o json",
      ],
    },
    (command) =>
      command
        .requiredOption('--topic <topic>', 'The topic')
        .requiredOption('--body <text>', 'The body')
        .option('--key <key>', 'Business key; may be given several times', several)
        .option('--tag <tag>', 'Label that consumers filter by')
        .option('--property <name=value>', 'Free property; may be given several times', property)
        .option('--ordering-key <key>', 'Messages with the same key keep their order'),
    request,
  );
}

async function request({
  client,
  flags,
  format,
  options,
}: ClientCall<RequestFlags>): Promise<void> {
  const { topic, body, key, tag, property: properties, orderingKey } = flags;
  const message = {
    body,
    ...(key === undefined ? {} : { keys: key }),
    ...(tag === undefined ? {} : { tag }),
    ...(properties === undefined ? {} : { properties }),
    ...(orderingKey === undefined ? {} : { orderingKey }),
  };
  const reply = await client.producer().request(topic, message, { timeoutMs: options.deadlineMs });
  if (format === 'json') await print(jsonLine(replyJson(reply)));
  else await print(`${reply.text()}\n`);
}

function replyJson({ receipt, tag, keys, properties, body }: Reply): object {
  return { messageId: receipt.messageId, tag, keys, properties, ...bodyJson(body) };
}

interface ReplyFlags {
  readonly to: string;
  readonly body: string;
  readonly tag?: string;
  readonly property?: Record<string, string>;
}

/** Adds the command that answers. */
export function addReply(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'reply',
      summary: 'answer a message whose sender waits',
      examples: ['tern message reply --to broker-a/4f0c5a… --body 3.20'],
    },
    (command) =>
      command
        .requiredOption(
          '--to <address>',
          "The message's replyTo, as message tail -o json prints it",
        )
        .requiredOption('--body <text>', 'The answer')
        .option('--tag <tag>', 'Label of the answer')
        .option('--property <name=value>', 'Free property; may be given several times', property),
    async ({ client, flags, format, options }: ClientCall<ReplyFlags>) => {
      const { to, body, tag, property: properties } = flags;
      const answer = {
        body,
        ...(tag === undefined ? {} : { tag }),
        ...(properties === undefined ? {} : { properties }),
      };
      await client.producer().reply(to, answer, options);
      if (format === 'json') await print(jsonLine({ answered: to }));
      else process.stderr.write('answered\n');
    },
  );
}
