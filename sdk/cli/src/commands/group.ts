// `tern group`: consumer groups and their progress.

import { systemClock } from '@ternmq/runtime';
import type {
  BroadcastMemberDescription,
  GroupDescription,
  GroupSettings,
  ProgressDescription,
  PullMemberDescription,
  ResetTarget,
  RetryBackoff,
} from '@ternmq/sdk';
import { type Command, Option } from 'commander';
import { backoff, duration, durations, resetTarget, wholeNumber, yesOrNo } from '../arguments.ts';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { confirmLoss } from '../confirm.ts';
import { UsageError } from '../exit-code.ts';
import { spanText, timeText } from '../format.ts';
import { jsonLine, print, table } from '../output.ts';
import { copyCommand } from './group/copy.ts';
import { deadLetterCommands } from './group/dead-letters.ts';
import { stoppedCommands, stoppedTable } from './group/stopped.ts';

interface ResetFlags {
  readonly topic: string;
  readonly to: ResetTarget;
  readonly dryRun?: boolean;
}

interface SettingFlags {
  readonly attempts?: number;
  readonly maxAttempts?: number;
  readonly retryDelays?: number[];
  readonly retryBackoff?: RetryBackoff;
  readonly lease?: number;
  readonly ordered?: boolean;
  readonly exhausted?: 'dead-letter' | 'stop';
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
      summary: 'show how many messages a group has before it, in each queue, and for how long',
      examples: ['tern group lag billing', 'tern group lag billing --topic orders -o json'],
    },
    (lag) => lag.option('--topic <topic>', 'Only this topic'),
    showLag,
  );
  addClientCommand(
    command,
    {
      usage: 'create <group>',
      summary: 'create a group on every broker group',
      examples: [
        'tern group create billing --attempts 5',
        'tern group create accounts --ordered --exhausted stop',
      ],
    },
    addSettingFlags,
    createGroup,
  );
  stoppedCommands(command);
  addClientCommand(
    command,
    {
      usage: 'update <group>',
      summary: 'change a group; what is not given stays as it is',
      examples: [
        'tern group update billing --attempts 5 --retry-delays 1s,10s,1m --lease 30s',
        'tern group update billing --retry-backoff 500ms,2,10m',
      ],
    },
    addSettingFlags,
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
  copyCommand(command);
  deadLetterCommands(command);
  addClientCommand(
    command,
    {
      usage: 'forget <group> <consumer-id>',
      summary: 'forget a broadcasting member that will not come back, with its progress',
      examples: ['tern group forget price-caches cache-7'],
    },
    () => {},
    async ({ client, args: [group = '', consumerId = ''], format, options }) => {
      await client.admin.removeMember(group, consumerId, options);
      if (format === 'json') await print(jsonLine({ group, forgot: consumerId }));
      else process.stderr.write(`forgot ${consumerId} of group ${group}\n`);
    },
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
  const described = await client.admin.describeGroup(group, options);
  if (format === 'json') return print(jsonLine({ name: group, ...described }));
  const { groups, consumers, pullMembers, broadcastMembers, progress, stopped } = described;
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
  if (broadcastMembers.length > 0) parts.splice(2, 0, broadcastTable(broadcastMembers));
  if (pullMembers.length > 0) parts.splice(2, 0, pullMemberTable(pullMembers));
  if (stopped.length > 0) parts.push(stoppedTable(stopped));
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
  const lagMs = Math.max(0, ...queues.map((one) => one.lagMs));
  if (format === 'json') return print(jsonLine({ group, lag, lagMs, queues }));
  await print(progressTable(queues));
  const oldest = lag === 0 ? '' : `, the oldest ${spanText(lagMs)} old`;
  process.stderr.write(`${lag} in all${oldest}\n`);
}

function addSettingFlags(command: Command): void {
  command
    .option(
      '--attempts <number>',
      'Deliveries before a message moves to %DLQ%<group>',
      wholeNumber(1, 1000),
    )
    .option(
      '--max-attempts <number>',
      'The same, by the name that RocketMQ has for it',
      wholeNumber(1, 1000),
    )
    .option('--retry-delays <time,…>', 'Pauses before the second, third, … delivery', durations)
    .option(
      '--retry-backoff <initial,multiplier,max>',
      'Pauses that grow instead: the first, by which factor [2], the longest [2h]',
      backoff,
    )
    .option('--lease <time>', 'How long a delivered message may stay unsettled', duration)
    .option(
      '--ordered [true|false]',
      'Deliver messages with the same ordering key one after the other; changes only without consumers',
      yesOrNo,
    )
    .addOption(
      new Option(
        '--exhausted <dead-letter|stop>',
        'What happens to a message of an ordered group after its last delivery: stop holds its key back',
      ).choices(['dead-letter', 'stop']),
    );
}

function settingsOf(flags: SettingFlags): GroupSettings {
  const { maxAttempts, retryDelays, retryBackoff, lease, ordered, exhausted } = flags;
  const { attempts = maxAttempts } = flags;
  return {
    ...(attempts === undefined ? {} : { attemptsMax: attempts }),
    ...(retryDelays === undefined ? {} : { retryDelaysMs: retryDelays }),
    ...(retryBackoff === undefined ? {} : { retryBackoff }),
    ...(lease === undefined ? {} : { leaseMs: lease }),
    ...(ordered === undefined ? {} : { ordered }),
    ...(exhausted === undefined ? {} : { exhausted: exhausted === 'stop' ? 'stop' : 'deadLetter' }),
  };
}

async function createGroup({
  client,
  args: [group = ''],
  flags,
  format,
  options,
}: ClientCall<SettingFlags>): Promise<void> {
  const groups = await client.admin.createGroup(group, settingsOf(flags), options);
  await print(format === 'json' ? jsonLine(groups) : groupTable(groups));
}

async function updateGroup({
  client,
  args: [group = ''],
  flags,
  format,
  options,
}: ClientCall<SettingFlags>): Promise<void> {
  const settings = settingsOf(flags);
  if (Object.keys(settings).length === 0) {
    const known = '--attempts, --retry-delays, --retry-backoff, --lease, --ordered or --exhausted';
    throw new UsageError(`say what to change: ${known}`);
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
      value: ({ settings }) => pausesText(settings),
    },
    {
      title: 'ordered',
      value: ({ settings }) =>
        settings.ordered ? (settings.exhausted === 'stop' ? 'yes, stops' : 'yes') : 'no',
    },
    { title: 'created', value: ({ createdMs }) => timeText(createdMs) },
  ]);
}

function pausesText({ retryDelaysMs, retryBackoff }: GroupDescription['settings']): string {
  if (retryBackoff === undefined) return retryDelaysMs.map(spanText).join(',') || 'default';
  const { initialMs, multiplier, maxMs } = retryBackoff;
  const longest = maxMs ? ` up to ${spanText(maxMs)}` : '';
  return `${spanText(initialMs)} times ${multiplier || 2}${longest}`;
}

function broadcastTable(members: readonly BroadcastMemberDescription[]): string {
  return table(members, [
    { title: 'broadcasts', value: ({ topic }) => topic },
    { title: 'consumer', value: ({ consumerId }) => consumerId },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'last seen', value: ({ seenMs }) => timeText(seenMs) },
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
    {
      title: 'wanted',
      value: ({ lagMatching, lagMatchingEstimated }) =>
        `${lagMatchingEstimated ? '~' : ''}${lagMatching ?? '-'}`,
    },
    { title: 'oldest', value: ({ lag, lagMs }) => (lag === 0 ? '-' : spanText(lagMs)) },
  ]);
}
