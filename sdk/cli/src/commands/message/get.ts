// `tern message get`: one message by its id.

import type { Command } from 'commander';
import { addClientCommand } from '../../client-command.ts';
import { jsonLine, print } from '../../output.ts';
import { messageFields, messageJson } from './message-text.ts';

/** Adds the command. */
export function addGet(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'get <message-id>',
      summary: 'show one message',
      examples: ['tern message get 5f1e0c92000000010000000200000000'],
    },
    () => {},
    async ({ client, args: [id = ''], format, options }) => {
      const message = await client.admin.getMessage(id, options);
      await print(format === 'json' ? jsonLine(messageJson(message)) : messageFields(message));
    },
  );
}
