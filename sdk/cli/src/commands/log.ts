// `tern log`: looks at the log of a data folder and changes nothing.

import type { LogCheck } from '@ternmq/broker';
import { nodeDisk } from '@ternmq/runtime';
import type { Command } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { sizeText } from '../format.ts';
import { fields, jsonLine, outputFormat, print } from '../output.ts';

/** The log has damage that the command was to find. */
class LogDamaged extends Error {
  readonly code = 'LOG_DAMAGED';
}

/** Completes the command. */
export function logCommand(command: Command): void {
  command
    .command('verify <data-folder>')
    .description('check every record of a log; exit code 1 when something durable is damaged')
    .option('-o, --output <table|json>', 'How the result is printed [table]')
    .option('--verbose', 'When it fails, print the stack and what led to it')
    .addHelpText(
      'after',
      '\nExamples:\n  $ tern log verify ./data\n  $ tern log verify ./data -o json',
    )
    .action(verify);
  command
    .command('dump <data-folder>')
    .description('print the records of a log, one JSON object a line, oldest first')
    .option('--limit <number>', 'Most records', wholeNumber(1))
    .option('--verbose', 'When it fails, print the stack and what led to it')
    .addHelpText('after', '\nExamples:\n  $ tern log dump ./data --limit 20')
    .action(dump);
}

async function verify(folder: string, flags: { output?: string }): Promise<void> {
  const format = outputFormat(flags.output);
  const { checkLog } = await import('@ternmq/broker');
  const check = checkLog(folder, nodeDisk, progress());
  await print(format === 'json' ? jsonLine(check) : checkText(check));
  const { corrupt } = check;
  if (corrupt.length > 0) {
    const bytes = corrupt.reduce((sum, { start, end }) => sum + end - start, 0);
    throw new LogDamaged(
      `${corrupt.length} ranges of ${sizeText(bytes)} are damaged; the messages in them are lost here: ` +
        'restore the folder from a copy, or go on without them',
    );
  }
}

async function dump(folder: string, { limit }: { limit?: number }): Promise<void> {
  const { dumpLog } = await import('@ternmq/broker');
  let left = limit ?? Number.POSITIVE_INFINITY;
  dumpLog(folder, nodeDisk, (record) => {
    process.stdout.write(jsonLine(record));
    return --left > 0 && process.stdout.writable;
  });
}

/** The scan keeps the process busy, so progress is shown by what was read and not by a timer. */
function progress(): ((bytes: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  const STEP_BYTES = 256 << 20;
  let next = STEP_BYTES;
  return (bytes) => {
    if (bytes < next) return;
    next += STEP_BYTES;
    process.stderr.write(`${sizeText(bytes)} checked\n`);
  };
}

function checkText(check: LogCheck): string {
  const { start, end, durable, segments, records, messages, states, bytes } = check;
  const rows: [string, string | number][] = [
    ['segments', segments],
    ['positions', `${start} to ${end}, durable to ${durable}`],
    ['records', `${records} (${sizeText(bytes)})`],
    ['messages', messages],
    ['state changes', states],
    ['torn bytes', check.tornBytes],
    ['damaged ranges', check.corrupt.length],
  ];
  for (const range of check.corrupt) {
    rows.push(['  from', `${range.start} to ${range.end}, ${range.end - range.start} bytes`]);
  }
  return fields(rows);
}
