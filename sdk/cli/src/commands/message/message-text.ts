// How messages are printed.

import { isUtf8 } from 'node:buffer';
import type { ReceivedMessage } from '@ternmq/sdk';
import { timeText } from '../../format.ts';
import { fields, jsonLine } from '../../output.ts';

const BODY_CHARS_MAX = 120;

/** A message as scripts read it: `body` when it is UTF-8, else `bodyBase64`. */
export function messageJson(message: ReceivedMessage): object {
  const { messageId, broker, queueId, offset, topic, keys, tag, properties } = message;
  const { orderingKey, bornTimeMs, storeTimeMs, body, priority, replyTo } = message;
  return {
    messageId,
    broker,
    queueId,
    offset,
    topic,
    keys,
    tag,
    properties,
    orderingKey,
    ...(priority === undefined ? {} : { priority }),
    ...(replyTo === '' ? {} : { replyTo }),
    bornTimeMs,
    storeTimeMs,
    ...bodyJson(body),
  };
}

/** A body as scripts read it. */
export function bodyJson(body: Buffer): { body: string } | { bodyBase64: string } {
  return isUtf8(body) ? { body: body.toString('utf8') } : { bodyBase64: body.toString('base64') };
}

/** How messages are printed: one JSON object a line, one line for people, or the bodies alone. */
export type MessageFormat = 'table' | 'json' | 'body';

/** A message as printed. */
export function messageBytes(message: ReceivedMessage, format: MessageFormat): string | Buffer {
  switch (format) {
    case 'json':
      return jsonLine(messageJson(message));
    case 'body':
      return Buffer.concat([message.body, Buffer.from('\n')]);
    case 'table':
      return messageLine(message);
    default:
      return format satisfies never;
  }
}

/** A message in one line: when, where, label and keys if any, and the beginning of the body. */
function messageLine(message: ReceivedMessage): string {
  const { storeTimeMs, broker, queueId, offset, tag, keys } = message;
  const labels = [tag === '' ? '' : `[${tag}]`, ...keys].filter((label) => label !== '').join(' ');
  const place = `${broker}/${queueId}@${offset}`;
  return `${timeText(storeTimeMs)}  ${place}  ${labels}${labels === '' ? '' : '  '}${bodyText(message)}\n`;
}

function bodyText({ body }: ReceivedMessage): string {
  if (!isUtf8(body)) return `(${body.length} bytes)`;
  const text = body.toString('utf8', 0, 4 * BODY_CHARS_MAX);
  const shown = text.slice(0, BODY_CHARS_MAX);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is replaced
  const printable = shown.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '·');
  return shown.length < text.length || body.length > 4 * BODY_CHARS_MAX
    ? `${printable}… (${body.length} bytes)`
    : printable;
}

/** All of a message for people. */
export function messageFields(message: ReceivedMessage): string {
  const { messageId, topic, broker, queueId, offset, keys, tag, properties, origin } = message;
  const pairs: [string, string | number][] = [
    ['message id', messageId],
    ['topic', topic],
    ['broker', broker],
    ['queue', queueId],
    ['offset', offset],
    ['stored', timeText(message.storeTimeMs)],
    ['born', timeText(message.bornTimeMs)],
    ['tag', tag || '-'],
    ['keys', keys.join(' ') || '-'],
    ['ordering key', message.orderingKey || '-'],
    ...(message.priority === undefined ? [] : [['priority', message.priority] as [string, number]]),
    ...(message.replyTo === '' ? [] : [['answer to', message.replyTo] as [string, string]]),
    ...Object.entries(properties).map(([name, value]): [string, string] => [`  ${name}`, value]),
  ];
  if (origin !== undefined) {
    const { topic: from, queueId: queue, offset: at, group, attempts, reason } = origin;
    pairs.push(['moved from', `${from} queue ${queue} offset ${at}`]);
    pairs.push(['given up by', `${group} after ${attempts} deliveries: ${reason || 'no reason'}`]);
  }
  pairs.push(['body', bodyText(message)]);
  return fields(pairs);
}
