// `tern group`: consumer groups and their progress.

import { systemClock } from '@ternmq/runtime';
import type {
  GroupDescription,
  ProgressDescription,
  PullMemberDescription,
  ResetTarget,
} from '@ternmq/sdk';
import type { Command } from 'commander';
import { duration, durations, resetTarget, wholeNumber } from '../arguments.ts';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { confirmLoss } from '../confirm.ts';
import { UsageError } from '../exit-code.ts';
import { spanText, timeText } from '../format.ts';
import { jsonLine, print, table } from '../output.ts';

interface ResetFlags {
  readonly topic: string;
  readonly to: ResetTarget;
  readonly dryRun?: boolean;
}

interface SettingFlags {
  readonly attempts?: number;
  readonly retryDelays?: number[];
  readonly lease?: number;
}

/** Completes the command. */
export function groupCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'ls',
      summary: 'list all groups',
      examples: ['tern group ls', 'tern group ls -o json'],
    },
    () => {},
    async ({ client, format, options }) => {
      const groups = await client.admin.listGroups(options);
      await print(format === 'json' ? jsonLine(groups) : groupTable(groups));
    },
  );
  addClientCommand(
    command,
    {
      usage: 'show <group>',
      summary: 'show a group, its consumers, the queues of those that pull, and its progress',
      examples: ['tern group show billing'],
    },
    () => {},
    showGroup,
  );
  addClientCommand(
    command,
    {
      usage: 'lag <group>',
      summary: 'show how many messages a group has before it, in each queue',
      examples: ['tern group lag billing', 'tern group lag billing --topic orders -o json'],
    },
    (lag) => lag.option('--topic <topic>', 'Only this topic'),
    showLag,
  );
  addClientCommand(
    command,
    {
      usage: 'update <group>',
      summary: 'change how a group retries; what is not given stays as it is',
      examples: ['tern group update billing --attempts 5 --retry-delays 1s,10s,1m --lease 30s'],
    },
    (update) =>
      update
        .option(
          '--attempts <number>',
          'Deliveries before a message moves to %DLQ%<group>',
          wholeNumber(1, 1000),
        )
        .option('--retry-delays <time,…>', 'Pauses before the second, third, … delivery', durations)
        .option('--lease <time>', 'How long a delivered message may stay unsettled', duration),
    updateGroup,
  );
  addClientCommand(
    command,
    {
      usage: 'reset <group>',
      summary: "set a group's progress in a topic; consumers go on from there",
      examples: [
        'tern group reset billing --topic orders --to begin --dry-run',
        'tern group reset billing --topic orders --to 2026-11-23T08:00:00Z',
        'tern group reset billing --topic orders --to -100',
      ],
    },
    (reset) =>
      reset
        .requiredOption('--topic <topic>', 'The topic')
        .requiredOption(
          '--to <begin|end|TIME|OFFSET|+N|-N>',
          'Oldest, behind the newest, first message at or after a time, offset, or messages from here',
          resetTarget(systemClock.nowMs),
        )
        .option('--dry-run', 'Show what would be done, and do nothing'),
    resetGroup,
  );
  addClientCommand(
    command,
    {
      usage: 'rm <group>',
      summary: 'delete a group and its progress',
      examples: ['tern group rm billing', 'tern group rm billing --yes'],
    },
    (rm) => rm.option('--yes', 'Do not ask'),
    async ({
      client,
      args: [group = ''],
      flags,
      format,
      options,
    }: ClientCall<{ yes?: boolean }>) => {
      await confirmLoss(`group ${group} and its progress in all topics`, group, flags);
      await client.admin.deleteGroup(group, options);
      if (format === 'json') await print(jsonLine({ deleted: group }));
      else process.stderr.write(`deleted group ${group}\n`);
    },
  );
}

async function showGroup({
  client,
  args: [group = ''],
  format,
  options,
}: ClientCall<object>): Promise<void> {
  const { groups, consumers, pullMembers, progress } = await client.admin.describeGroup(
    group,
    options,
  );
  if (format === 'json') {
    return print(jsonLine({ name: group, groups, consumers, pullMembers, progress }));
  }
  const consumerTable = table(consumers, [
    { title: 'consumer', value: ({ consumerId }) => consumerId },
    { title: 'address', value: ({ address }) => address },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'mode', value: ({ mode }) => mode },
    {
      title: 'subscriptions',
      value: ({ subscriptions }) =>
        subscriptions.map(({ topic, tags, sql }) => `${topic} ${tags} ${sql}`.trim()).join(', '),
    },
  ]);
  const parts = [groupTable(groups), consumerTable, progressTable(progress)];
  if (pullMembers.length > 0) parts.splice(2, 0, pullMemberTable(pullMembers));
  await print(parts.join('\n'));
}

async function showLag({
  client,
  args: [group = ''],
  flags: { topic },
  format,
  options,
}: ClientCall<{ topic?: string }>): Promise<void> {
  const { progress } = await client.admin.describeGroup(group, options);
  const queues = progress.filter((one) => topic === undefined || one.topic === topic);
  const lag = queues.reduce((sum, one) => sum + one.lag, 0);
  if (format === 'json') return print(jsonLine({ group, lag, queues }));
  await print(progressTable(queues));
  process.stderr.write(`${lag} in all\n`);
}

async function updateGroup({
  client,
  args: [group = ''],
  flags: { attempts, retryDelays, lease },
  format,
  options,
}: ClientCall<SettingFlags>): Promise<void> {
  const settings = {
    ...(attempts === undefined ? {} : { attemptsMax: attempts }),
    ...(retryDelays === undefined ? {} : { retryDelaysMs: retryDelays }),
    ...(lease === undefined ? {} : { leaseMs: lease }),
  };
  if (Object.keys(settings).length === 0) {
    throw new UsageError('say what to change: --attempts, --retry-delays or --lease');
  }
  const groups = await client.admin.updateGroup(group, settings, options);
  await print(format === 'json' ? jsonLine(groups) : groupTable(groups));
}

async function resetGroup({
  client,
  args: [group = ''],
  flags: { topic, to, dryRun = false },
  format,
  options,
}: ClientCall<ResetFlags>): Promise<void> {
  const queues = await client.admin.resetGroup({ group, topic, to, dryRun }, options);
  if (format === 'json') return print(jsonLine({ group, topic, dryRun, queues }));
  await print(
    table(queues, [
      { title: 'broker', value: ({ broker }) => broker },
      { title: 'queue', value: ({ queueId }) => queueId },
      { title: 'before', value: ({ before }) => before ?? '-' },
      { title: 'after', value: ({ after }) => after },
    ]),
  );
  if (dryRun) process.stderr.write('nothing was changed; leave out --dry-run to do it\n');
}

function groupTable(groups: readonly GroupDescription[]): string {
  return table(groups, [
    { title: 'group', value: ({ name }) => name },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'attempts', value: ({ settings }) => settings.attemptsMax },
    { title: 'lease', value: ({ settings }) => spanText(settings.leaseMs) },
    {
      title: 'retry delays',
      value: ({ settings }) => settings.retryDelaysMs.map(spanText).join(',') || 'default',
    },
    { title: 'created', value: ({ createdMs }) => timeText(createdMs) },
  ]);
}

function pullMemberTable(members: readonly PullMemberDescription[]): string {
  return table(members, [
    { title: 'pulls', value: ({ topic }) => topic },
    { title: 'consumer', value: ({ consumerId }) => consumerId },
    { title: 'address', value: ({ address }) => address },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'strategy', value: ({ strategy, room }) => `${strategy} ${room}`.trimEnd() },
    { title: 'queues', value: ({ queueIds }) => queueIds.join(',') || '-' },
  ]);
}

function progressTable(progress: readonly ProgressDescription[]): string {
  return table(progress, [
    { title: 'topic', value: ({ topic }) => topic },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'queue', value: ({ queueId }) => queueId },
    { title: 'consumer', value: ({ consumerId }) => consumerId || '-' },
    { title: 'done up to', value: ({ floorOffset }) => floorOffset },
    { title: 'end', value: ({ endOffset }) => endOffset },
    { title: 'in flight', value: ({ inFlight }) => inFlight },
    { title: 'retrying', value: ({ waitingForRetry }) => waitingForRetry },
    { title: 'lag', value: ({ lag }) => lag },
  ]);
}
