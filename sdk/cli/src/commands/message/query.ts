// `tern message query`: the messages of a topic between two times, with a key, or of one queue from an offset on.

import { systemClock } from '@ternmq/runtime';
import type { Client, ReceivedMessage, StartPoint } from '@ternmq/sdk';
import type { Command } from 'commander';
import { startPoint, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { UsageError } from '../../exit-code.ts';
import { printMessages } from './print-messages.ts';

interface QueryFlags {
  readonly topic: string;
  readonly key?: string;
  readonly from?: 'first' | 'last' | Date;
  readonly to?: 'first' | 'last' | Date;
  readonly limit: number;
  readonly queue?: number;
  readonly offset?: number;
  readonly broker?: string;
  readonly bodies?: boolean;
}

/** A stretch of one queue. */
interface Stretch {
  readonly broker: string;
  readonly queueId: number;
  readonly first: number;
  readonly end: number;
}

const LIMIT_MAX = 100_000;

/** Adds the command. */
export function addQuery(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'query',
      summary: 'show messages by time, by key, or of one queue by offset',
      examples: [
        'tern message query --topic orders --from 15m',
        'tern message query --topic orders --key 7 --from 24h',
        'tern message query --topic orders --from 2026-11-23T08:00:00Z --to 2026-11-23T08:05:00Z -o json',
        'tern message query --topic orders --queue 2 --offset 1000 --limit 10',
      ],
    },
    (query) =>
      query
        .requiredOption('--topic <topic>', 'The topic')
        .option(
          '--key <key>',
          'Only messages with this key; the newest when there are more than --limit',
        )
        .option('--from <begin|TIME>', 'First store time [begin]', startPoint(systemClock.nowMs))
        .option('--to <TIME|end>', 'Store time to stop before [end]', startPoint(systemClock.nowMs))
        .option('--limit <number>', 'Most messages', wholeNumber(1, LIMIT_MAX), 100)
        .option('--queue <number>', 'Only this queue', wholeNumber(0))
        .option('--offset <number>', 'With --queue: the first offset', wholeNumber(0))
        .option('--broker <name>', 'Only this broker group')
        .option('--bodies', 'Print the bodies alone, each with a newline'),
    query,
  );
}

async function query(call: ClientCall<QueryFlags>): Promise<void> {
  const { flags, format } = call;
  const found = flags.key === undefined ? await readAll(call) : await findByKey(call, flags.key);
  found.sort((one, other) => one.storeTimeMs - other.storeTimeMs);
  const shown = found.slice(0, flags.limit);
  await printMessages(shown, flags.bodies ? 'body' : format);
}

async function findByKey(
  { client, flags, options }: ClientCall<QueryFlags>,
  key: string,
): Promise<ReceivedMessage[]> {
  const { topic, from, to, limit: max, queue, offset, broker } = flags;
  if (queue !== undefined || offset !== undefined || broker !== undefined) {
    throw new UsageError('--key does not go with --queue, --offset and --broker');
  }
  if (from === 'last' || to === 'first') return [];
  const bounds = {
    ...(from instanceof Date ? { from } : {}),
    ...(to instanceof Date ? { to } : {}),
  };
  return client.admin.findMessages({ topic, key, max, ...bounds }, options);
}

async function readAll(call: ClientCall<QueryFlags>): Promise<ReceivedMessage[]> {
  const { client, flags } = call;
  const found: ReceivedMessage[] = [];
  for (const stretch of await find(call)) {
    found.push(...(await read(client, flags.topic, stretch, flags.limit)));
  }
  return found;
}

/** The stretches that were asked for; those without messages are left out. */
async function find({ client, flags, options }: ClientCall<QueryFlags>): Promise<Stretch[]> {
  const { topic, from = 'first', to = 'last', queue, offset, broker } = flags;
  if (offset !== undefined && queue === undefined) {
    throw new UsageError('--offset goes with --queue');
  }
  const begin: StartPoint = offset === undefined ? from : { offset };
  const [begins, ends] = await Promise.all([
    client.admin.queryOffset(topic, begin, options),
    client.admin.queryOffset(topic, to, options),
  ]);
  const endOf = new Map(ends.map((one) => [`${one.broker} ${one.queueId}`, one.offset]));
  const wanted = begins.filter(
    (one) =>
      (queue === undefined || one.queueId === queue) &&
      (broker === undefined || one.broker === broker),
  );
  if (wanted.length === 0) {
    throw new UsageError(`topic ${topic} has no such queue; see tern topic show ${topic}`);
  }
  return wanted
    .map(({ broker: name, queueId, offset: first }) => ({
      broker: name,
      queueId,
      first,
      end: endOf.get(`${name} ${queueId}`) ?? first,
    }))
    .filter(({ first, end }) => first < end);
}

async function read(
  client: Client,
  topic: string,
  { broker, queueId, first, end }: Stretch,
  limit: number,
): Promise<ReceivedMessage[]> {
  const consumer = client.pullConsumer();
  await consumer.assign([{ topic, broker, queueId, offset: first }]);
  const messages: ReceivedMessage[] = [];
  while (messages.length < limit) {
    const some = await consumer.poll({ max: limit - messages.length, waitMs: 0 });
    const within = some.filter(({ offset }) => offset < end);
    messages.push(...within);
    if (within.length === 0 || within.length < some.length) break;
  }
  await consumer.close();
  return messages;
}
