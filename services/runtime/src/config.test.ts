import { describe, expect, test } from 'vitest';
import { defineOptions, flagOf, resolveOptions, variableOf } from './config.ts';

const definitions = defineOptions({
  brokerPort: { kind: 'int', doc: 'Port', default: 10911, min: 0, max: 65535 },
  segmentBytes: { kind: 'bytes', doc: 'Segment', default: 1024, min: 512 },
  timeout: { kind: 'duration', doc: 'Timeout', default: 15_000 },
  flush: { kind: 'choice', choices: ['sync', 'async'], doc: 'Flush', default: 'sync' },
  autoCreateTopics: { kind: 'boolean', doc: 'Create', default: false },
  nameserver: { kind: 'addresses', doc: 'Name servers', default: ['127.0.0.1:9876'] },
  tags: { kind: 'list', doc: 'Tags', default: [] },
  name: { kind: 'text', doc: 'Name' },
});

describe('the value of an option', () => {
  test('comes from the flag, else the environment, else the file, else the default', () => {
    const file = { 'broker-port': 1, timeout: '1s', flush: 'async', name: 'file' };
    const env = { TERN_BROKER_PORT: '2', TERN_TIMEOUT: '2s', TERN_FLUSH: 'sync', HOME: '/root' };
    const flags = { brokerPort: '3', timeout: undefined };
    expect(resolveOptions(definitions, { flags, env, file })).toEqual({
      brokerPort: 3,
      timeout: 2000,
      flush: 'sync',
      name: 'file',
      segmentBytes: 1024,
      autoCreateTopics: false,
      nameserver: ['127.0.0.1:9876'],
      tags: [],
    });
  });

  test('is read in its kind from text and from JSON', () => {
    const env = {
      TERN_SEGMENT_BYTES: '64KiB',
      TERN_AUTO_CREATE_TOPICS: 'true',
      TERN_NAMESERVER: 'a:1, [::1]:2',
      TERN_TAGS: 'x,y',
    };
    const file = {
      'segment-bytes': 65_536,
      'auto-create-topics': true,
      nameserver: ['a:1', '[::1]:2'],
      tags: ['x', 'y'],
    };
    const expected = {
      segmentBytes: 65_536,
      autoCreateTopics: true,
      nameserver: ['a:1', '[::1]:2'],
      tags: ['x', 'y'],
    };
    expect(resolveOptions(definitions, { env })).toMatchObject(expected);
    expect(resolveOptions(definitions, { file })).toMatchObject(expected);
  });

  test('may be absent where there is no default', () => {
    expect(resolveOptions(definitions, {}).name).toBeUndefined();
  });

  test.each([
    [
      { flags: { brokerPort: '65536' } },
      '--broker-port is "65536" but must be a whole number, from 0 to 65535.',
    ],
    [
      { env: { TERN_SEGMENT_BYTES: '1' } },
      'TERN_SEGMENT_BYTES is "1" but must be a size such as 64KiB, 256MiB or 10GiB, at least 512.',
    ],
    [
      { file: { timeout: 15 } },
      'timeout is 15 but must be a time such as 200ms, 15s, 72h or 7d, at least 0.',
    ],
    [{ flags: { flush: 'never' } }, '--flush is "never" but must be one of sync, async.'],
    [
      { env: { TERN_AUTO_CREATE_TOPICS: 'yes' } },
      'TERN_AUTO_CREATE_TOPICS is "yes" but must be true or false.',
    ],
    [
      { flags: { nameserver: 'localhost' } },
      '--nameserver is "localhost" but must be addresses host:port separated by commas.',
    ],
    [{ flags: { name: '' } }, '--name is "" but must be a text that is not empty.'],
    [{ file: [] }, 'The configuration file must hold one JSON object'],
  ])('is refused with a sentence that says what it must be: %j', (sources, message) => {
    expect(() => resolveOptions(definitions, sources)).toThrow(
      expect.objectContaining({ reason: 'BAD_OPTION', message: expect.stringContaining(message) }),
    );
  });
});

describe('an unknown key', () => {
  test.each([
    [{ flags: { brokerPrt: '1' } }, 'Unknown flag --broker-prt. The nearest one is --broker-port.'],
    [
      { env: { TERN_BROKERPORT: '1' } },
      'Unknown environment variable TERN_BROKERPORT. The nearest one is TERN_BROKER_PORT.',
    ],
    [
      { file: { brokerPort: 1 } },
      'Unknown configuration file key brokerPort. The nearest one is broker-port.',
    ],
  ])('is refused and the nearest known one named: %j', (sources, message) => {
    expect(() => resolveOptions(definitions, sources)).toThrow(
      expect.objectContaining({ reason: 'UNKNOWN_OPTION', message }),
    );
  });

  test('of another command is allowed in the environment and the file, but not as a flag', () => {
    const others = ['adminPort'];
    const env = { TERN_ADMIN_PORT: '8080' };
    const file = { 'admin-port': 8080 };
    expect(resolveOptions(definitions, { env, file, others })).not.toHaveProperty('adminPort');
    expect(() => resolveOptions(definitions, { flags: { adminPort: '1' }, others })).toThrow(
      '--admin-port',
    );
  });
});

test('an option has one name in three spellings', () => {
  expect(flagOf('autoCreateTopics')).toBe('--auto-create-topics');
  expect(variableOf('autoCreateTopics')).toBe('TERN_AUTO_CREATE_TOPICS');
});
