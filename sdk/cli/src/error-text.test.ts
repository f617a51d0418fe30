import { MqError } from '@ternmq/sdk';
import { expect, test } from 'vitest';
import { causeChain, errorLine } from './error-text.ts';

test('an error is one line with its code in brackets', () => {
  expect(errorLine(new MqError('DISK_FULL', 'the disk is\n  full '))).toBe(
    'tern: the disk is full [DISK_FULL]\n',
  );
  expect(errorLine(new Error('plain'))).toBe('tern: plain\n');
});

test('the chain of causes is told to the end, and ends', () => {
  const cause = new Error('inner');
  const chain = causeChain(new Error('outer', { cause }));
  expect(chain).toMatch(/outer[\s\S]*caused by: Error: inner/);
  const loop = new Error('loop');
  loop.cause = loop;
  expect(causeChain(loop).match(/caused by/g)).toHaveLength(9);
});
