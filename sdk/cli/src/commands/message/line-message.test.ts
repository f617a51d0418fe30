import { describe, expect, test } from 'vitest';
import { messageOfJson } from './line-message.ts';

describe('a JSON line', () => {
  test('may have everything that a message has', () => {
    const line = JSON.stringify({
      body: 'b',
      key: 'k1',
      keys: ['k2'],
      tag: 't',
      properties: { a: '1' },
      orderingKey: 'o',
      priority: 9,
    });
    expect(messageOfJson(line)).toEqual({
      body: 'b',
      keys: ['k1', 'k2'],
      tag: 't',
      properties: { a: '1' },
      orderingKey: 'o',
      priority: 9,
    });
  });

  test('may have bytes as base64, or any JSON as body', () => {
    expect(messageOfJson('{"bodyBase64":"/wA="}').body).toEqual(Buffer.from([255, 0]));
    expect(messageOfJson('{"body":{"id":7}}').body).toBe('{"id":7}');
    expect(messageOfJson('{"body":0}').body).toBe('0');
  });

  test.each([
    ['text', /JSON/],
    ['[]', /no JSON object/],
    ['null', /no JSON object/],
    ['{}', /no "body"/],
    ['{"body":"b","tags":"x"}', /"tags" is not known/],
    ['{"body":"b","priority":"9"}', /"priority" must be a number/],
    ['{"body":"b","tag":1}', /"tag" must be a text/],
    ['{"body":"b","keys":"k"}', /list/],
    ['{"body":"b","key":7}', /key must be a text/],
    ['{"body":"b","properties":{"a":1}}', /object of texts/],
    ['{"body":"b","properties":["a"]}', /object of texts/],
  ])('%s is refused with the reason', (line, reason) => {
    expect(() => messageOfJson(line)).toThrow(reason);
  });
});
