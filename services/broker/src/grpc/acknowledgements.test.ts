import { Acknowledgement } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { expect, test } from 'vitest';
import type { CommitLog } from '../log/commit-log.ts';
import type { Topic } from '../state/topics.ts';
import { ACKNOWLEDGED, Acknowledgements } from './acknowledgements.ts';

function build() {
  const log = { written: 300, ownVisible: 200, requestFlush() {} };
  const replicas = { kept: 100, leads: true, refusal: () => undefined };
  const guard = { refusal: () => undefined };
  const acknowledgements = new Acknowledgements('local', {
    log: log as unknown as CommitLog,
    replicas,
    guard,
  });
  return { log, replicas, acknowledgements };
}

function topic(acknowledgement: number): Topic {
  return { settings: { acknowledgement } } as Topic;
}

test('a topic says when its senders are answered, and else the group does', () => {
  const { acknowledgements } = build();
  expect(acknowledgements.askedBy(undefined)).toBe('local');
  expect(acknowledgements.askedBy(topic(Acknowledgement.UNSPECIFIED))).toBe('local');
  expect(acknowledgements.askedBy(topic(Acknowledgement.IN_SYNC))).toBe('in-sync');
  expect(acknowledgements.askedBy(topic(Acknowledgement.ASYNC))).toBe('async');
  // Of a version to come.
  expect(acknowledgements.askedBy(topic(9))).toBe('local');
  expect(ACKNOWLEDGED.map((asked) => acknowledgements.reached(asked))).toEqual([100, 200, 300]);
});

test('nobody is answered when the lease is over, and who waits is told when another one leads', async () => {
  const { acknowledgements, replicas } = build();
  replicas.leads = false;
  expect(ACKNOWLEDGED.map((asked) => acknowledgements.reached(asked))).toEqual([0, 0, 0]);
  const waits = acknowledgements.at(150, 'local');
  acknowledgements.advanced();
  acknowledgements.close(new Error('another one leads'));
  await expect(waits).rejects.toThrow('another one leads');
  await expect(acknowledgements.at(150, 'local')).rejects.toThrow('another one leads');
});

test('who waits is answered when the log has come far enough in the way that was asked for', async () => {
  const { acknowledgements, log, replicas } = build();
  const answered: string[] = [];
  const wait = (asked: (typeof ACKNOWLEDGED)[number]) =>
    acknowledgements.at(400, asked).then(() => answered.push(asked));
  const all = Promise.all(ACKNOWLEDGED.map(wait));
  log.written = 400;
  acknowledgements.advanced();
  await Promise.resolve();
  expect(answered).toEqual(['async']);
  log.ownVisible = 400;
  acknowledgements.advanced();
  await Promise.resolve();
  expect(answered).toEqual(['async', 'local']);
  replicas.kept = 400;
  acknowledgements.advanced();
  await all;
});
