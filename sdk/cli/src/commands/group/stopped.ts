// `tern group stopped` and `tern group release`: messages that hold back their ordering keys after their last delivery.

import type { StoppedDescription } from '@ternmq/sdk';
import type { Command } from 'commander';
import { wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { UsageError } from '../../exit-code.ts';
import { jsonLine, print, table } from '../../output.ts';

interface ReleaseFlags {
  readonly topic: string;
  readonly broker?: string;
  readonly queue: number;
  readonly offset: number;
  readonly deadLetter?: boolean;
}

/** Adds the commands. */
export function stoppedCommands(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'stopped <group>',
      summary: 'list the messages that hold back their ordering keys after their last delivery',
      examples: ['tern group stopped accounts', 'tern group stopped accounts -o json'],
    },
    () => {},
    async ({ client, args: [group = ''], format, options }) => {
      const stopped = await client.admin.listStopped(group, options);
      await print(format === 'json' ? jsonLine(stopped) : stoppedTable(stopped));
    },
  );
  addClientCommand(
    command,
    {
      usage: 'release <group>',
      summary: 'let a message go on that holds back its ordering key (see stopped)',
      examples: [
        'tern group release accounts --topic orders --queue 2 --offset 17',
        'tern group release accounts --topic orders --queue 2 --offset 17 --dead-letter',
      ],
    },
    (release) =>
      release
        .requiredOption('--topic <topic>', 'The topic')
        .requiredOption('--queue <number>', 'The queue', wholeNumber(0))
        .requiredOption('--offset <number>', 'The offset', wholeNumber(0))
        .option('--broker <name>', 'The broker group; needed when several have such a message')
        .option('--dead-letter', 'Move it to the dead letters; else it is delivered once more'),
    releaseStopped,
  );
}

async function releaseStopped({
  client,
  args: [group = ''],
  flags: { topic, broker, queue, offset, deadLetter = false },
  format,
  options,
}: ClientCall<ReleaseFlags>): Promise<void> {
  const keeper = broker ?? keeperOf(await client.admin.listStopped(group, options));
  const stopped = { topic, broker: keeper, queueId: queue, offset };
  await client.admin.releaseStopped(group, stopped, { ...options, deadLetter });
  if (format === 'json') await print(jsonLine({ released: stopped, deadLetter }));
  else process.stderr.write(`released message ${offset} of queue ${queue} of ${topic}\n`);

  function keeperOf(all: readonly StoppedDescription[]): string {
    const found = all.filter(
      (one) => one.topic === topic && one.queueId === queue && one.offset === offset,
    );
    const [first] = found;
    if (first !== undefined && found.length === 1) return first.broker;
    throw new UsageError(
      first === undefined
        ? `no message ${offset} of queue ${queue} of ${topic} holds its key back; see tern group stopped ${group}`
        : `several brokers have such a message; say which with --broker ${found.map((one) => one.broker).join('|')}`,
    );
  }
}

/** Stopped messages as people read them. */
export function stoppedTable(stopped: readonly StoppedDescription[]): string {
  return table(stopped, [
    { title: 'stopped in', value: ({ topic }) => topic },
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'queue', value: ({ queueId }) => queueId },
    { title: 'offset', value: ({ offset }) => offset },
    { title: 'deliveries', value: ({ attempts }) => attempts },
  ]);
}
