import { defineOptions } from '@ternmq/runtime';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addOptionFlags } from './option-flags.ts';

const DEFINITIONS = defineOptions({
  brokerPort: { kind: 'int', default: 10911, doc: 'Port of the broker' },
  flush: { kind: 'choice', choices: ['sync', 'async'], default: 'sync', doc: 'When to answer' },
  segmentSize: { kind: 'bytes', default: 256 << 20, doc: 'Size of a segment' },
  retention: { kind: 'duration', default: 259_200_000, doc: 'How long' },
  autoCreate: { kind: 'boolean', default: false, doc: 'Create it' },
  advertise: { kind: 'text', doc: 'Where clients go' },
});

test('help is written from the declarations, with defaults as people write them', () => {
  const command = new Command('x').configureHelp({ helpWidth: 200 });
  addOptionFlags(command, DEFINITIONS);
  const help = command.helpInformation();
  expect(help).toMatch(/--broker-port <number>\s+Port of the broker \[10911\]/);
  expect(help).toMatch(/--flush <sync\|async>\s+When to answer \[sync\]/);
  expect(help).toMatch(/--segment-size <size>\s+Size of a segment \[256MiB\]/);
  expect(help).toMatch(/--retention <time>\s+How long \[3d\]/);
  expect(help).toMatch(/--auto-create \[true\|false\]\s+Create it \[false\]/);
  expect(help).toMatch(/--advertise <text>\s+Where clients go\n/);
});

test('flags that are not given are not set, and a boolean may stand alone', () => {
  const command = new Command('x');
  addOptionFlags(command, DEFINITIONS);
  command.parse(['--auto-create', '--broker-port', '0'], { from: 'user' });
  expect(command.opts()).toEqual({ autoCreate: true, brokerPort: '0' });
});
