// `tern cluster repair`: topics and groups become the same on all broker groups.

import type { Repair } from '@ternmq/sdk';
import type { Command } from 'commander';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { jsonLine, print, table } from '../../output.ts';

interface RepairFlags {
  readonly like?: string;
  readonly dryRun?: boolean;
}

/** Adds the command. */
export function repairCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'repair',
      summary: 'make topics and groups the same on all broker groups',
      examples: [
        'tern cluster repair --dry-run',
        'tern cluster repair',
        'tern cluster repair --like broker-a   # where settings differ, those of broker-a are right',
      ],
    },
    (repair) =>
      repair
        .option(
          '--like <broker>',
          'The broker group that is right where settings differ [the one that has it for longest]',
        )
        .option('--dry-run', 'Only show what would be done'),
    async ({ client, flags, format, options }: ClientCall<RepairFlags>) => {
      const { like, dryRun = false } = flags;
      const steps = await client.admin.repair({
        ...options,
        dryRun,
        ...(like === undefined ? {} : { like }),
      });
      if (format === 'json') await print(jsonLine({ dryRun, steps }));
      else if (steps.length === 0) process.stderr.write('everything is the same everywhere\n');
      else await print(stepTable(steps));
      if (dryRun && steps.length > 0 && format !== 'json') {
        process.stderr.write('nothing was changed; leave out --dry-run to do it\n');
      }
    },
  );
}

function stepTable(steps: readonly Repair[]): string {
  return table(steps, [
    { title: 'broker', value: ({ broker }) => broker },
    { title: 'action', value: ({ action }) => action },
    { title: 'what', value: ({ what }) => what },
    { title: 'name', value: ({ name }) => name },
  ]);
}
