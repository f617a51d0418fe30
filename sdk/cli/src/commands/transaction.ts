// `tern transaction`: half messages, and deciding them by hand.

import type { TransactionDescription, TransactionStateName } from '@ternmq/sdk';
import { type Command, Option } from 'commander';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { timeText } from '../format.ts';
import { jsonLine, print, table } from '../output.ts';

interface ListFlags {
  readonly state?: TransactionStateName;
  readonly producerGroup?: string;
}

const STATES: readonly TransactionStateName[] = ['open', 'committed', 'rolled back'];

/** Completes the command. */
export function transactionCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'ls',
      summary: 'list transactions that are open or ended within the last 24 h',
      examples: ['tern transaction ls --state open', "tern transaction ls --state 'rolled back'"],
    },
    (ls) =>
      ls
        .addOption(new Option('--state <state>', 'Only those in this state').choices(STATES))
        .option('--producer-group <group>', 'Only those of this producer group'),
    async ({ client, flags, format, options }: ClientCall<ListFlags>) => {
      const found = await client.admin.listTransactions({ ...options, ...flags });
      await print(format === 'json' ? jsonLine(found) : transactionTable(found));
    },
  );
  for (const outcome of ['commit', 'rollback'] as const) {
    addClientCommand(
      command,
      {
        usage: `${outcome} <transaction-id>`,
        summary:
          outcome === 'commit'
            ? 'deliver the messages of an open transaction'
            : 'drop the messages of an open transaction',
        examples: [`tern transaction ${outcome} 5f1e0c92000000010000000200000000`],
      },
      () => {},
      async ({ client, args: [id = ''], format, options }) => {
        const ended = await client.admin.endTransaction(id, outcome, options);
        await print(format === 'json' ? jsonLine(ended) : transactionTable([ended]));
      },
    );
  }
}

function transactionTable(transactions: readonly TransactionDescription[]): string {
  return table(transactions, [
    { title: 'transaction', value: ({ transactionId }) => transactionId },
    { title: 'topic', value: ({ topic }) => topic },
    { title: 'producer group', value: ({ producerGroup }) => producerGroup },
    { title: 'messages', value: ({ messages }) => messages },
    { title: 'state', value: ({ state }) => state },
    { title: 'begun', value: ({ begunMs }) => timeText(begunMs) },
    { title: 'checks', value: ({ checks }) => checks },
    { title: 'next check', value: ({ nextCheckMs }) => timeText(nextCheckMs) },
    { title: 'cause', value: ({ cause }) => cause },
  ]);
}
