// `tern group dead-letters` and `resend`: messages that a group gave up, and sending them again.

import type { DeadLetter } from '@ternmq/sdk';
import type { Command } from 'commander';
import { several, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { PartialFailure, UsageError } from '../../exit-code.ts';
import { sizeText, timeText } from '../../format.ts';
import { jsonLine, print, table } from '../../output.ts';
import { showProgress } from '../../progress.ts';

/** Rows that are kept for a table; the rest is only counted. */
const ROWS_MAX = 1000;

interface ListFlags {
  readonly max?: number;
  readonly oldest?: boolean;
}

interface ResendFlags {
  readonly id?: readonly string[];
  readonly max?: number;
  readonly newest?: boolean;
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

/** Adds the commands. */
export function deadLetterCommands(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'dead-letters <group>',
      summary: 'list messages that a group gave up, the newest first',
      examples: [
        'tern group dead-letters billing',
        'tern group dead-letters billing --max 10 --oldest -o json',
      ],
    },
    (list) =>
      list
        .option('--max <number>', 'At most so many [100]', wholeNumber(1))
        .option('--oldest', 'The oldest first'),
    listLetters,
  );
  addClientCommand(
    command,
    {
      usage: 'resend <group>',
      summary: 'send messages that a group gave up to their topics again, each once',
      examples: [
        'tern group resend billing --all --dry-run',
        'tern group resend billing --max 100',
        'tern group resend billing --id 5f1e0c92000000010000000200000000',
      ],
    },
    (resend) =>
      resend
        .option('--id <message-id>', 'This one, by its id as dead letter; repeatable', several)
        .option(
          '--max <number>',
          'So many that were not sent again yet, the oldest first',
          wholeNumber(1),
        )
        .option('--newest', 'With --max: the newest first')
        .option('--all', 'All that were not sent again yet')
        .option('--dry-run', 'Show what would be done, and do nothing'),
    resendLetters,
  );
}

async function listLetters({
  client,
  args: [group = ''],
  flags: { max = 100, oldest = false },
  format,
  options,
}: ClientCall<ListFlags>): Promise<void> {
  const order = oldest ? 'oldest' : 'newest';
  const letters = await client.admin.listDeadLetters({ group, max, order }, options);
  await print(format === 'json' ? jsonLine(letters) : letterTable(letters));
}

async function resendLetters({
  client,
  args: [group = ''],
  flags: { id: ids, max, newest = false, all = false, dryRun = false },
  format,
  options,
}: ClientCall<ResendFlags>): Promise<void> {
  if ([ids !== undefined, max !== undefined, all].filter(Boolean).length !== 1) {
    throw new UsageError('say what to send again: --id, --max or --all');
  }
  const letters: DeadLetter[] = [];
  let count = 0;
  const progress = showProgress('dead letters', () => count);
  const choice = {
    group,
    dryRun,
    order: newest ? 'newest' : 'oldest',
    ...(ids === undefined ? {} : { ids }),
    ...(max === undefined ? {} : { max }),
    onLetter(letter: DeadLetter) {
      count++;
      if (letters.length < ROWS_MAX) letters.push(letter);
    },
  } as const;
  const result = await client.admin
    .resendDeadLetters(choice, options)
    .finally(() => progress.stop());
  if (format === 'json') await print(jsonLine({ group, dryRun, ...result, letters }));
  else await print(letterTable(letters));
  const { resent, before, refused } = result;
  const parts = [`${resent} ${dryRun ? 'would be sent again' : 'sent again'}`];
  if (before > 0) parts.push(`${before} were sent again before`);
  if (count > letters.length) parts.push(`only the first ${letters.length} are shown`);
  process.stderr.write(`${parts.join('; ')}\n`);
  if (refused > 0) throw new PartialFailure(`${refused} of ${count} cannot be sent again`);
}

function letterTable(letters: readonly DeadLetter[]): string {
  return table(letters, [
    { title: 'dead letter', value: ({ messageId }) => messageId },
    { title: 'from', value: ({ origin }) => origin?.topic ?? '-' },
    { title: 'message', value: ({ origin }) => origin?.messageId ?? '-' },
    { title: 'queue', value: ({ origin }) => origin?.queueId ?? '-' },
    { title: 'offset', value: ({ origin }) => origin?.offset ?? '-' },
    { title: 'attempts', value: ({ origin }) => origin?.attempts ?? '-' },
    { title: 'given up', value: ({ deadMs }) => timeText(deadMs) },
    { title: 'size', value: ({ bodyBytes }) => sizeText(bodyBytes) },
    { title: 'sent again', value: sentAgain },
    { title: 'reason', value: ({ origin }) => origin?.reason ?? '-' },
  ]);
}

function sentAgain({ refusal, resentMessageId, resent }: DeadLetter): string {
  return refusal ?? resentMessageId ?? (resent ? 'before' : 'no');
}
