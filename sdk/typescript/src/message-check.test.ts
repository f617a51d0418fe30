import { describe, expect, test } from 'vitest';
import { messageFault } from './message-check.ts';

describe('a message', () => {
  test.each([
    ['a body that is no text and no bytes', { body: 5 }, 'INVALID_OPTION'],
    ['no body', {}, 'INVALID_OPTION'],
    ['an empty body', { body: '' }, 'BODY_EMPTY'],
    ['bytes beyond 4 MiB', { body: new Uint8Array((4 << 20) + 1) }, 'BODY_TOO_LARGE'],
    ['text beyond 4 MiB of UTF-8', { body: '\u20ac'.repeat(1 + (4 << 20) / 3) }, 'BODY_TOO_LARGE'],
    ['a tag that is no text', { body: 'x', tag: 5 }, 'INVALID_OPTION'],
    ['keys that are no list', { body: 'x', keys: 'k' }, 'INVALID_OPTION'],
    ['a key that is no text', { body: 'x', keys: ['k', 5] }, 'INVALID_OPTION'],
    ['a property that is no text', { body: 'x', properties: { a: 1 } }, 'INVALID_OPTION'],
    ['an ordering key that is no text', { body: 'x', orderingKey: {} }, 'INVALID_OPTION'],
  ])('with %s is refused before it travels', (_, message, code) => {
    expect(messageFault(message as never)?.code).toBe(code);
  });

  test('of the largest size, with everything it may have, is let through', () => {
    expect(messageFault({ body: new Uint8Array(4 << 20) })).toBeUndefined();
    expect(messageFault({ body: 'x'.repeat(4 << 20) })).toBeUndefined();
    const all = { body: 'x', tag: 't', keys: ['k'], properties: { a: 'b' }, orderingKey: 'o' };
    expect(messageFault(all)).toBeUndefined();
  });
});
