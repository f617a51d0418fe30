// Receive: leases messages of one topic, and waits for them when there are none.

import type { ReceiveRequest } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError, type UnaryContext } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import { checkLeaseMs, RetryPolicy } from '../catalog/retry-policy.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Consumer } from '../delivery/consumer.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { parseMessageFilter } from '../delivery/message-filter.ts';
import { boundedWait, inRange } from './bounds.ts';
import { checkConsumerId } from './subscribe.ts';

const MESSAGES_DEFAULT = 32;
const MESSAGES_MAX = 256;
const BYTES_MAX = 4 << 20;

/** One call that waits for messages. */
class ReceiveCall implements Consumer {
  readonly id: string;
  readonly streaming = false;
  readonly leaseMs: number;
  creditMessages: number;
  creditBytes = BYTES_MAX;
  readonly clogged = false;
  readonly frame: Promise<Buffer>;
  #answer: (frame: Buffer) => void = () => {};
  #fail: (error: Error) => void = () => {};

  constructor(id: string, leaseMs: number, messagesMax: number) {
    this.id = id;
    this.leaseMs = leaseMs;
    this.creditMessages = messagesMax;
    this.frame = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
    // Whoever waits learns of it; nobody may be waiting any more.
    this.frame.catch(() => {});
  }

  deliver(frame: Buffer): void {
    // One frame is one answer.
    this.creditMessages = 0;
    this.#answer(frame);
  }

  end(reason: 'TOPIC_NOT_FOUND' | 'GROUP_NOT_FOUND'): void {
    this.#fail(
      new TernError('NOT_FOUND', reason, `what was subscribed to was deleted (${reason})`),
    );
  }

  /** Nothing has come in time. */
  giveUp(): void {
    this.creditMessages = 0;
    this.#answer(Buffer.alloc(0));
  }
}

/** The RPC. */
export function receive(modules: {
  topics: TopicCatalog;
  groups: GroupCatalog;
  delivery: Delivery;
  clock: Clock;
}): (request: ReceiveRequest, context: UnaryContext) => Promise<Buffer> {
  const { topics, groups, delivery, clock } = modules;
  return async (request, context) => {
    const { subscription } = request;
    const topic = topics.get(subscription?.topic ?? '');
    const filter = parseMessageFilter(subscription?.tags ?? '', subscription?.sql ?? '');
    checkLeaseMs(request.leaseMs, 'lease_ms');
    if (request.consumerId !== '') checkConsumerId(request.consumerId);
    const messagesMax = inRange(
      'messages_max',
      request.messagesMax,
      MESSAGES_DEFAULT,
      MESSAGES_MAX,
    );
    const waitMs = boundedWait(request.waitMs, context, clock);
    const group = groups.getOrCreate(request.group, request.ordered);
    const progress = await delivery.begin(group, topic, '', subscription?.from?.target);
    const leaseMs = request.leaseMs || new RetryPolicy(group.settings).leaseMs;
    const call = new ReceiveCall(request.consumerId || 'receive', leaseMs, messagesMax);
    const giveUp = (): void => call.giveUp();
    const { signal } = context;
    if (signal.aborted) return Buffer.alloc(0);
    signal.addEventListener('abort', giveUp);
    delivery.attach(progress, topic, filter, call);
    // What is there is not missed because it has to be read from the disk first.
    const lastCall = (): void => void delivery.loaded(progress).then(giveUp);
    if (waitMs <= 0) lastCall();
    const timer = clock.setTimer(waitMs, lastCall);
    try {
      return await call.frame;
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', giveUp);
      delivery.detach(progress, call);
    }
  };
}
