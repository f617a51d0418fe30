// `tern message trace`: what happened to one message.

import type { MessageTrace, TraceEvent } from '@ternmq/sdk';
import type { Command } from 'commander';
import { addClientCommand } from '../../client-command.ts';
import { sizeText, timeText } from '../../format.ts';
import { jsonLine, print, table } from '../../output.ts';

const TRACE_MS = 600_000;

/** Adds the command. */
export function addTrace(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'trace <message-id>',
      summary: 'show what happened to one message; may take minutes on a large log',
      examples: [
        'tern message trace 5f1e0c92000000010000000200000000',
        'tern message trace 5f1e0c92000000010000000200000000 -o json',
      ],
    },
    () => {},
    async ({ client, args: [id = ''], flags, format }) => {
      const trace = await client.admin.traceMessage(id, { deadlineMs: flags.timeout ?? TRACE_MS });
      await print(format === 'json' ? jsonLine({ messageId: id, ...trace }) : traceTable(trace));
      if (format === 'table') process.stderr.write(caveats(trace));
    },
  );
}

function traceTable({ events }: MessageTrace): string {
  if (events.length === 0) return '';
  return table(events, [
    { title: 'time', value: ({ timeMs }) => timeText(timeMs) },
    { title: 'event', value: ({ event }) => event },
    { title: 'topic', value: ({ topic }) => topic || '-' },
    { title: 'group', value: ({ group }) => group || '-' },
    { title: 'consumer', value: ({ consumerId, memberId }) => consumerId || memberId || '-' },
    { title: 'attempt', value: ({ attempt }) => attempt || '-' },
    { title: 'detail', value: detail },
  ]);
}

function detail(one: TraceEvent): string {
  const { event, untilMs, otherId, otherTopic, address, reason, offset } = one;
  const until = untilMs > 0 ? timeText(untilMs) : '';
  switch (event) {
    case 'stored':
      if (otherId !== '') return `moved from ${otherId} in ${otherTopic || 'where it waited'}`;
      return address === '' ? 'by the broker' : `from ${address}`;
    case 'held':
      return `from ${address || 'the broker'}${until === '' ? '' : `, until ${until}`}`;
    case 'leased':
    case 'extended':
      return `until ${until}`;
    case 'retried':
    case 'lease ended':
      return `again from ${until}`;
    case 'released':
    case 'dead-lettered':
    case 'resent':
      return `as ${otherId} in ${otherTopic || 'a topic that was deleted'}${reason === '' ? '' : `: ${reason}`}`;
    case 'progress set':
      return `to offset ${offset}`;
    case 'relocated':
      return 'copied, because its part of the log was about to go; the time is that of storing';
    default:
      return reason;
  }
}

/** What the events do not tell, and why. */
function caveats({ events, beginningGone, lostBytes, truncated }: MessageTrace): string {
  const lines: string[] = [];
  if (beginningGone) {
    lines.push('older parts of the log are deleted: what happened before them is not known');
  }
  if (lostBytes > 0) lines.push(`${sizeText(lostBytes)} of the log could not be searched`);
  if (truncated) lines.push(`only the first ${events.length} events are shown`);
  if (events.length === 0) lines.push('the log has nothing about this message any more');
  return lines.map((line) => `${line}\n`).join('');
}
