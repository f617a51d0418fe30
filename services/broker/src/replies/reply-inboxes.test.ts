import { create } from '@bufbuild/protobuf';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { ManualClock, seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { ReplyInboxes } from './reply-inboxes.ts';

const inboxes = () => {
  const clock = new ManualClock();
  return { clock, all: new ReplyInboxes('b', { clock, random: seededRandom(1) }) };
};
const answer = create(MessageSchema, { body: Buffer.from('x') });
const never = new AbortController().signal;

test('an inbox takes one answer, also one that comes before it is waited for', async () => {
  const { all } = inboxes();
  const inbox = all.open();
  all.answer(inbox.replyTo, answer);
  expect(() => all.answer(inbox.replyTo, answer)).toThrow(/nobody waits/);
  expect(await inbox.wait(1000, never)).toBe(answer);
  expect(all.waiting).toBe(0);
});

test('an inbox is gone when its time is up, its caller has gone, or it is closed', async () => {
  const { all, clock } = inboxes();
  const late = all.open().wait(1000, never);
  clock.advance(1000);
  expect(await late).toBeUndefined();
  const abort = new AbortController();
  const left = all.open().wait(1000, abort.signal);
  abort.abort(new Error('gone'));
  await expect(left).rejects.toThrow('gone');
  await expect(all.open().wait(1000, abort.signal)).rejects.toThrow('gone');
  all.open().close();
  expect(all.waiting).toBe(0);
});

test('a broker keeps 65,536 inboxes open and no more', () => {
  const { all } = inboxes();
  const first = all.open();
  while (all.waiting < 65_536) all.open();
  expect(() => all.open()).toThrow(expect.objectContaining({ reason: 'TOO_MANY_REQUESTS' }));
  first.close();
  all.open();
});
