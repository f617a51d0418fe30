// `tern topic`: topics.

import type {
  AcknowledgementName,
  TopicDescription,
  TopicKindName,
  TopicSettings,
} from '@ternmq/sdk';
import { type Command, Option } from 'commander';
import { duration, size, wholeNumber } from '../arguments.ts';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { confirmLoss } from '../confirm.ts';
import { UsageError } from '../exit-code.ts';
import { sizeText, spanText, timeText } from '../format.ts';
import { jsonLine, print, table } from '../output.ts';

interface SettingFlags {
  readonly queues?: number;
  readonly retention?: number;
  readonly retentionBytes?: number;
  readonly type?: TopicKindName;
  readonly deduplication?: number;
  readonly acknowledge?: AcknowledgementName;
}

const KINDS: readonly TopicKindName[] = [
  'normal',
  'fifo',
  'delay',
  'transaction',
  'mixed',
  'priority',
];

const ACKNOWLEDGEMENTS: readonly AcknowledgementName[] = ['group', 'in-sync', 'local', 'async'];

/** Completes the command. */
export function topicCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'ls',
      summary: 'list all topics',
      examples: ['tern topic ls', 'tern topic ls -o json'],
    },
    () => {},
    async ({ client, format, options }) => {
      const topics = await client.admin.listTopics(options);
      await print(format === 'json' ? jsonLine(topics) : topicTable(topics));
    },
  );
  addClientCommand(
    command,
    {
      usage: 'show <topic>',
      summary: 'show a topic and its queues',
      examples: ['tern topic show orders'],
    },
    () => {},
    showTopic,
  );
  addClientCommand(
    command,
    {
      usage: 'create <topic>',
      summary: 'create a topic on every broker group',
      examples: [
        'tern topic create orders',
        'tern topic create clicks --queues 16 --retention 7d --retention-bytes 1GiB',
        'tern topic create reminders --type delay',
        'tern topic create payments --deduplication 10m',
        'tern topic create settings --compacted',
        'tern topic create clicks --acknowledge async',
      ],
    },
    (create) =>
      addSettingFlags(create).option(
        '--compacted',
        'Retain the newest message of each ordering key, whatever the retention',
      ),
    async ({
      client,
      args: [topic = ''],
      flags,
      format,
      options,
    }: ClientCall<SettingFlags & { compacted?: boolean }>) => {
      const { compacted = false } = flags;
      const settings = { ...settingsOf(flags), compacted };
      const topics = await client.admin.createTopic(topic, settings, options);
      await print(format === 'json' ? jsonLine(topics) : topicTable(topics));
    },
  );
  addClientCommand(
    command,
    {
      usage: 'update <topic>',
      summary: 'change a topic; what is not given stays as it is',
      examples: [
        'tern topic update orders --queues 32',
        'tern topic update clicks --retention 24h',
      ],
    },
    addSettingFlags,
    async ({ client, args: [topic = ''], flags, format, options }: ClientCall<SettingFlags>) => {
      const settings = settingsOf(flags);
      if (Object.keys(settings).length === 0) {
        throw new UsageError(
          'say what to change: --queues, --retention, --retention-bytes, --deduplication, --acknowledge or --type',
        );
      }
      const topics = await client.admin.updateTopic(topic, settings, options);
      await print(format === 'json' ? jsonLine(topics) : topicTable(topics));
    },
  );
  addClientCommand(
    command,
    {
      usage: 'rm <topic>',
      summary: 'delete a topic and all its messages',
      examples: ['tern topic rm orders', 'tern topic rm orders --yes'],
    },
    (rm) => rm.option('--yes', 'Do not ask'),
    async ({
      client,
      args: [topic = ''],
      flags,
      format,
      options,
    }: ClientCall<{ yes?: boolean }>) => {
      await confirmLoss(`topic ${topic} and all its messages`, topic, flags);
      await client.admin.deleteTopic(topic, options);
      if (format === 'json') await print(jsonLine({ deleted: topic }));
      else process.stderr.write(`deleted topic ${topic}\n`);
    },
  );
}

function addSettingFlags(command: Command): Command {
  return command
    .option('--queues <number>', 'Queues on each broker group', wholeNumber(1, 1024))
    .option('--retention <time>', 'How long messages are kept at least', duration)
    .option('--retention-bytes <size>', 'Bytes of each queue that are kept', size)
    .option(
      '--deduplication <time>',
      'How long repeats of a message are dropped, told by its first key; at most 24h, 0s is off',
      duration,
    )
    .addOption(
      new Option(
        '--type <kind>',
        'Which kind of messages it takes; without it, every kind',
      ).choices(KINDS),
    )
    .addOption(
      new Option(
        '--acknowledge <when>',
        'Answer senders when every in-sync member has the message on disk, this broker alone, or its page cache (async); group: as the brokers were told',
      ).choices(ACKNOWLEDGEMENTS),
    );
}

function settingsOf(flags: SettingFlags): TopicSettings {
  const { queues, retention, retentionBytes, type, deduplication, acknowledge } = flags;
  return {
    ...(queues === undefined ? {} : { queues }),
    ...(retention === undefined ? {} : { retentionMs: retention }),
    ...(retentionBytes === undefined ? {} : { retentionBytes }),
    ...(type === undefined ? {} : { kind: type }),
    ...(deduplication === undefined ? {} : { deduplicationWindowMs: deduplication }),
    ...(acknowledge === undefined ? {} : { acknowledgement: acknowledge }),
  };
}

async function showTopic({
  client,
  args: [topic = ''],
  format,
  options,
}: ClientCall<object>): Promise<void> {
  const { topics, queues } = await client.admin.describeTopic(topic, options);
  if (format === 'json') return print(jsonLine({ name: topic, topics, queues }));
  const queueTable = table(queues, [
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'queue', value: ({ queueId }) => queueId },
    { title: 'begin', value: ({ beginOffset }) => beginOffset },
    { title: 'end', value: ({ endOffset }) => endOffset },
    { title: 'messages', value: ({ beginOffset, endOffset }) => endOffset - beginOffset },
    { title: 'last stored', value: ({ lastStoreTimeMs }) => timeText(lastStoreTimeMs) },
  ]);
  await print(`${topicTable(topics)}\n${queueTable}`);
}

function topicTable(topics: readonly TopicDescription[]): string {
  return table(topics, [
    { title: 'topic', value: ({ name }) => name },
    { title: 'broker', value: ({ broker }) => broker },
    {
      title: 'type',
      value: ({ settings: { kind, compacted } }) => (compacted ? `${kind}, compacted` : kind),
    },
    { title: 'queues', value: ({ settings }) => settings.queues },
    {
      title: 'retention',
      value: ({ settings }) => (settings.retentionMs ? spanText(settings.retentionMs) : 'default'),
    },
    {
      title: 'retention bytes',
      value: ({ settings }) =>
        settings.retentionBytes ? sizeText(settings.retentionBytes) : 'no limit',
    },
    {
      title: 'deduplication',
      value: ({ settings }) =>
        settings.deduplicationWindowMs ? spanText(settings.deduplicationWindowMs) : '-',
    },
    { title: 'acknowledged', value: ({ settings }) => settings.acknowledgement },
    { title: 'created', value: ({ createdMs }) => timeText(createdMs) },
  ]);
}
