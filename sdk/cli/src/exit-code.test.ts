import { TernError } from '@ternmq/runtime';
import { MqError } from '@ternmq/sdk';
import { CommanderError } from 'commander';
import { expect, test } from 'vitest';
import { exitCodeOf, PartialFailure, UsageError } from './exit-code.ts';

test.each<[string, unknown, number]>([
  ['help that was asked for', new CommanderError(0, 'commander.helpDisplayed', ''), 0],
  ['an unknown option', new CommanderError(1, 'commander.unknownOption', ''), 2],
  ['flags that contradict each other', new UsageError('no'), 2],
  ['a bad value in the environment', new TernError('INVALID_ARGUMENT', 'BAD_OPTION', ''), 2],
  ['a bad name server address', new MqError('INVALID_OPTION', ''), 2],
  ['work done in part', new PartialFailure('some'), 3],
  ['work done on some brokers', new MqError('PARTIAL', ''), 3],
  ['a topic that does not exist', new MqError('TOPIC_NOT_FOUND', ''), 4],
  ['something else that a server does not find', new MqError('X', '', { status: 'NOT_FOUND' }), 4],
  ['a folder without a log', new TernError('NOT_FOUND', 'NO_LOG', ''), 4],
  ['a denied call', new MqError('X', '', { status: 'PERMISSION_DENIED' }), 5],
  ['no name server', new MqError('NAMESERVER_UNREACHABLE', ''), 6],
  ['a timeout', new MqError('DEADLINE_EXCEEDED', ''), 6],
  ['a server that cannot answer now', new MqError('X', '', { status: 'UNAVAILABLE' }), 6],
  ['a message that is too large', new MqError('BODY_TOO_LARGE', ''), 1],
  ['a bug', new TypeError('x is not a function'), 1],
  ['something thrown that is no error', 'text', 1],
  ['nothing', undefined, 1],
])('%s', (_, error, code) => {
  expect(exitCodeOf(error)).toBe(code);
});
