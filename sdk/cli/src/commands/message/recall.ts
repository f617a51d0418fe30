// `tern message recall`: takes a delayed message back.

import type { Command } from 'commander';
import { addClientCommand } from '../../client-command.ts';
import { jsonLine, print } from '../../output.ts';

/** Adds the command. */
export function addRecall(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'recall <message-id>',
      summary: 'take a delayed message back before it is delivered',
      examples: ['tern message recall 5f1e0c92000000010000000200000000'],
    },
    () => {},
    async ({ client, args: [id = ''], format, options }) => {
      await client.producer().recall(id, options);
      if (format === 'json') await print(jsonLine({ recalled: id }));
      else process.stderr.write(`recalled message ${id}\n`);
    },
  );
}
