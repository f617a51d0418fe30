// A line of a file as a message.

import type { OutgoingMessage } from '@ternmq/sdk';

/** How lines become messages: a line is the body, or a JSON object that has it. */
export type LineFormat = 'text' | 'json';

/** What a JSON line may have. */
const NAMES = new Set([
  'body',
  'bodyBase64',
  'key',
  'keys',
  'tag',
  'properties',
  'orderingKey',
  'priority',
]);

/**
 * The message of a JSON line such as `{"body": "…", "key": "…", "tag": "…", "properties": {…}, "orderingKey": "…", "priority": 9}`.
 * `bodyBase64` and `keys` are what `message tail -o json` prints. Throws Error when the line is none.
 */
export function messageOfJson(line: string): OutgoingMessage {
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('it is no JSON object');
  }
  const given = value as Record<string, unknown>;
  const unknown = Object.keys(given).find((name) => !NAMES.has(name));
  if (unknown !== undefined)
    throw new Error(`"${unknown}" is not known; there are ${[...NAMES].join(', ')}`);
  const { body, bodyBase64, key, keys, tag, properties, orderingKey, priority } = given;
  const allKeys = [...(key === undefined ? [] : [key]), ...(Array.isArray(keys) ? keys : [])];
  if (keys !== undefined && !Array.isArray(keys)) throw new Error('"keys" must be a list of texts');
  for (const [name, text] of Object.entries({ tag, orderingKey })) {
    if (text !== undefined && typeof text !== 'string') throw new Error(`"${name}" must be a text`);
  }
  if (priority !== undefined && typeof priority !== 'number') {
    throw new Error('"priority" must be a number');
  }
  if (!allKeys.every((one) => typeof one === 'string')) throw new Error('a key must be a text');
  return {
    body: bodyOf(body, bodyBase64),
    ...(allKeys.length === 0 ? {} : { keys: allKeys as string[] }),
    ...(tag === undefined ? {} : { tag: tag as string }),
    ...(properties === undefined ? {} : { properties: propertiesOf(properties) }),
    ...(orderingKey === undefined ? {} : { orderingKey: orderingKey as string }),
    ...(priority === undefined ? {} : { priority }),
  };
}

function bodyOf(body: unknown, base64: unknown): string | Buffer {
  if (typeof base64 === 'string' && body === undefined) return Buffer.from(base64, 'base64');
  if (typeof body === 'string') return body;
  if (body === undefined || body === null) throw new Error('it has no "body"');
  // A body that is no text is sent as the JSON that it is.
  return JSON.stringify(body);
}

function propertiesOf(value: unknown): Record<string, string> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  const valid = !Array.isArray(value) && entries.every(([, one]) => typeof one === 'string');
  if (typeof value !== 'object' || value === null || !valid) {
    throw new Error('"properties" must be an object of texts');
  }
  return Object.fromEntries(entries);
}
