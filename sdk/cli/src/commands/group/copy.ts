// `tern group copy`: sets a group to where another one is.

import type { Command } from 'commander';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { jsonLine, print, table } from '../../output.ts';

interface CopyFlags {
  readonly topic?: string;
  readonly dryRun?: boolean;
}

/** Adds the command. */
export function copyCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'copy <from> <to>',
      summary: 'set a group to where another one is; its consumers go on from there',
      examples: [
        'tern group copy billing billing-v2 --dry-run',
        'tern group copy billing billing-v2 --topic orders',
      ],
    },
    (copy) =>
      copy
        .option('--topic <topic>', 'Only this topic')
        .option('--dry-run', 'Show what would be done, and do nothing'),
    copyGroup,
  );
}

async function copyGroup({
  client,
  args: [from = '', to = ''],
  flags: { topic, dryRun = false },
  format,
  options,
}: ClientCall<CopyFlags>): Promise<void> {
  const copy = { from, to, dryRun, ...(topic === undefined ? {} : { topic }) };
  const queues = await client.admin.copyOffsets(copy, options);
  if (format === 'json') return print(jsonLine({ from, to, dryRun, queues }));
  await print(
    table(queues, [
      { title: 'topic', value: (queue) => queue.topic },
      { title: 'broker', value: ({ broker }) => broker },
      { title: 'queue', value: ({ queueId }) => queueId },
      { title: 'before', value: ({ before }) => before ?? '-' },
      { title: 'after', value: ({ after }) => after },
    ]),
  );
  if (dryRun) process.stderr.write('nothing was changed; leave out --dry-run to do it\n');
}
