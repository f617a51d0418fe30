import { expect, test } from 'vitest';
import { type Logger, logEvents } from './event-log.ts';
import type { ClientEvent } from './events.ts';

const error = new Error('cause');
const cases: [ClientEvent, string, object, RegExp][] = [
  [{ type: 'connected', address: 'a:1' }, 'info', { address: 'a:1' }, /connected to a:1/],
  [{ type: 'disconnected', address: 'a:1', error }, 'warn', { address: 'a:1', err: error }, /lost/],
  [{ type: 'routeChanged', topic: 't', queues: 4 }, 'info', { topic: 't', queues: 4 }, /4 queues/],
  [{ type: 'waiting', topic: 't', reason: 'no route' }, 'warn', { topic: 't' }, /no route/],
  [{ type: 'sendFailed', topic: 't', error }, 'error', { topic: 't', err: error }, /one-way/],
  [{ type: 'settleFailed', topic: 't', error }, 'warn', { topic: 't', err: error }, /settled/],
  [{ type: 'handlerFailed', topic: 't', error }, 'warn', { topic: 't', err: error }, /handler/],
];

test.each(cases)('%j is a line with its facts and the name of the client', (...one) => {
  const [event, level, fields, message] = one;
  const lines: [string, object, string][] = [];
  const take =
    (name: string) =>
    (facts: object, text: string): void => {
      lines.push([name, facts, text]);
    };
  const logger: Logger = { info: take('info'), warn: take('warn'), error: take('error') };
  logEvents(logger, 'shop-1')(event);
  expect(lines).toEqual([
    [level, { clientId: 'shop-1', ...fields }, expect.stringMatching(message)],
  ]);
});
