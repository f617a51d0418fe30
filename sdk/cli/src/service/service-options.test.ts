import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineOptions } from '@ternmq/runtime';
import { afterAll, expect, test } from 'vitest';
import { serviceOptions } from './service-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'ternmq-options-'));
afterAll(() => rmSync(folder, { recursive: true }));

function configFile(text: string): string {
  const path = join(folder, 'tern.json');
  writeFileSync(path, text);
  return path;
}

const DEFINITIONS = defineOptions({
  data: { kind: 'text', default: './data', doc: '' },
  queues: { kind: 'int', default: 4, doc: '' },
  flush: { kind: 'choice', choices: ['sync', 'async'], default: 'sync', doc: '' },
  host: { kind: 'text', default: '127.0.0.1', doc: '' },
});
const others = [defineOptions({ brokerTimeout: { kind: 'duration', doc: '' } })];

test('a flag wins over the environment, that over the file, that over the default', () => {
  const config = configFile('{"data": "file", "queues": 8, "flush": "async"}');
  const env = { TERN_CONFIG: config, TERN_DATA: 'env', TERN_QUEUES: '16' };
  expect(serviceOptions(DEFINITIONS, { flags: { data: 'flag' }, env, others })).toEqual({
    data: 'flag',
    queues: 16,
    flush: 'async',
    host: '127.0.0.1',
  });
});

test('options of other services may stand in the environment and the file', () => {
  const config = configFile('{"broker-timeout": "5s", "nameserver": ["a:1"]}');
  const env = { TERN_NAMESERVER: 'a:1', TERN_BROKER_TIMEOUT: '5s' };
  expect(() =>
    serviceOptions(DEFINITIONS, { flags: { config, output: 'json' }, env, others }),
  ).not.toThrow();
});

test('a name that nobody knows is an error that names the nearest', () => {
  const env = { TERN_QUEUE: '3' };
  expect(() => serviceOptions(DEFINITIONS, { flags: {}, env, others })).toThrow(/TERN_QUEUES/);
  const config = configFile('{"dta": "x"}');
  expect(() => serviceOptions(DEFINITIONS, { flags: { config }, env: {}, others })).toThrow(/data/);
});

test('a file that is missing or no JSON is said with its name', () => {
  const missing = join(folder, 'missing.json');
  const read = (config: string) => () =>
    serviceOptions(DEFINITIONS, { flags: { config }, env: {}, others });
  expect(read(missing)).toThrow(/missing\.json/);
  expect(read(configFile('{'))).toThrow(/tern\.json is no JSON/);
});
