import { describe, expect, test } from 'vitest';
import { Client, type ClientOptions } from './client.ts';
import { MqError } from './errors.ts';

/** Nothing listens there, and nothing is connected before it is used. */
const nameservers = '127.0.0.1:1';
const newClient = (options: ClientOptions = {}): Client => new Client({ nameservers, ...options });

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return (error as MqError).code;
  }
  return 'nothing was thrown';
}

describe('the name of a client', () => {
  test('begins the names of its consumers, which differ', async () => {
    await using client = newClient({ clientId: 'shop-1' });
    const names = [client.consumer('g').consumerId, client.consumer('g').consumerId];
    for (const name of names) expect(name).toMatch(/^shop-1-[0-9a-f]{8}$/);
    expect(names[0]).not.toBe(names[1]);
    expect(client.consumer('g', { consumerId: 'cache-1' }).consumerId).toBe('cache-1');
  });

  test('is made of host and process when none is given', async () => {
    await using client = newClient();
    expect(client.clientId).toMatch(new RegExp(`-${process.pid}$`));
    expect(client.consumer('g').consumerId.startsWith(`${client.clientId}-`)).toBe(true);
  });

  test.each(['', 'a b', 'ä', 'x'.repeat(101)])('cannot be %j', (clientId) => {
    expect(codeOf(() => newClient({ clientId }))).toBe('INVALID_OPTION');
  });
});

test('a client writes what happens to it to its logger', async () => {
  const lines: { fields: object; message: string }[] = [];
  const take = (fields: object, message: string): void => void lines.push({ fields, message });
  const logger = { info: take, warn: take, error: take };
  await using client = newClient({ clientId: 'shop-1', logger });
  client.producer().sendOneWay('t', { body: '' });
  await Promise.resolve();
  expect(lines).toEqual([
    {
      fields: { clientId: 'shop-1', topic: 't', err: expect.any(MqError) },
      message: expect.stringContaining('one-way'),
    },
  ]);
});

test('a client that is closed makes nothing more, and may be closed again', async () => {
  const client = newClient();
  await client.close();
  await client.close();
  expect(codeOf(() => client.producer())).toBe('CLOSED');
  expect(codeOf(() => client.admin)).toBe('CLOSED');
});

test('a client is closed by its signal, also by one that has aborted before', async () => {
  const abort = new AbortController();
  const client = newClient({ signal: abort.signal });
  client.producer();
  abort.abort();
  expect(codeOf(() => client.producer())).toBe('CLOSED');
  expect(codeOf(() => newClient({ signal: abort.signal }).producer())).toBe('CLOSED');
});

test.each(['', 'here', 'host:', ' , '])('name servers cannot be %j', (given) => {
  expect(codeOf(() => new Client({ nameservers: given }))).toBe('INVALID_OPTION');
});
