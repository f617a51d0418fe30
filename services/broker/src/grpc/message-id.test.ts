import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bornHostOf } from './born-host.ts';
import { messageId, parseMessageId } from './message-id.ts';
import { page } from './page.ts';

describe('a message id', () => {
  test('tells the place again that it was made of', () => {
    const place = fc.record({
      brokerName: fc.string({ minLength: 1 }),
      topicId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      queueId: fc.integer({ min: 0, max: 1023 }),
      offset: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    });
    fc.assert(
      fc.property(place, ({ brokerName, ...where }) => {
        const id = messageId({ brokerName, ...where });
        expect(id).toMatch(/^[0-9a-f]{32}$/);
        expect(parseMessageId(id, brokerName)).toEqual({ ours: true, ...where });
        expect(parseMessageId(id.toUpperCase(), brokerName).ours).toBe(true);
        const other = `${brokerName}x`;
        expect(parseMessageId(id, other).ours).toBe(crc32(other) === crc32(brokerName));
      }),
    );
  });

  test.each([
    '',
    '0'.repeat(31),
    '0'.repeat(33),
    'g'.repeat(32),
    `${'0'.repeat(32)}\n`,
    '../../etc/passwd',
  ])('is refused when it is %j', (text) => {
    expect(() => parseMessageId(text, 'broker')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', reason: 'INVALID_MESSAGE_ID' }),
    );
  });
});

describe('the host that a message came from', () => {
  test.each([
    ['10.1.2.255:40000', '00000000000000000000ffff0a0102ff'],
    ['127.0.0.1', '00000000000000000000ffff7f000001'],
    ['[::1]:5', '00000000000000000000000000000001'],
    ['[::ffff:1.2.3.4]:5', '00000000000000000000ffff01020304'],
    ['::1:40000', '00000000000000000000000000000001'],
    ['2001:db8::8080:50000', '20010db8000000000000000000008080'],
    ['[fe80::1%eth0]:80', 'fe800000000000000000000000000001'],
    ['[2001:db8:1:2:3:4:5:6]:9', '20010db8000100020003000400050006'],
    ['[2001:db8::]:9', '20010db8000000000000000000000000'],
    ['unix:/run/socket', '00000000000000000000000000000000'],
    ['', '00000000000000000000000000000000'],
    ['999.1.1.1:5', '00000000000000000000000000000000'],
  ])('%s', (peer, hex) => {
    expect(bornHostOf(peer).toString('hex')).toBe(hex);
  });
});

describe('pages', () => {
  test('together are the whole list, in order, each name once', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.string({ maxLength: 5 }).map((s) => `n${s}`),
          { maxLength: 50 },
        ),
        fc.integer({ min: 1, max: 20 }),
        (names, size) => {
          const all = names.map((name) => ({ name }));
          const found: string[] = [];
          let token = '';
          for (let i = 0; i <= names.length; i++) {
            const { items, nextPageToken } = page(all, size, token);
            expect(items.length).toBeLessThanOrEqual(size);
            found.push(...items.map(({ name }) => name));
            token = nextPageToken;
            if (token === '') break;
          }
          expect(found).toEqual([...names].sort((a, b) => (a < b ? -1 : 1)));
        },
      ),
    );
  });

  test('a page that is too large is refused', () => {
    expect(() => page([], 1001, '')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
