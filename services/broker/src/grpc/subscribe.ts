// Subscribe: a consumer's stream. It opens the subscription, grants credit and settles; deliveries go the other
// way, never past the credit, and never while the connection is clogged.
//
//   waiting for `open` -> open -> ended by the consumer | broken | ended by the broker

import { create, toBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type SubscribeRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
  SubscriptionMode,
  type SubscriptionOpening,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, failStream, type Logger, TernError } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import { checkLeaseMs, RetryPolicy } from '../catalog/retry-policy.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Consumer } from '../delivery/consumer.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { type MessageFilter, parseMessageFilter } from '../delivery/message-filter.ts';
import type { Group, TopicProgress } from '../state/groups.ts';
import type { Topic } from '../state/topics.ts';
import { settlementChoices, settlementFailures } from './settlements.ts';

type Call = ServerDuplexStream<SubscribeRequest, Buffer>;

const CONSUMER_ID = /^[\x21-\x7e]{1,127}$/;
/** Most topics of one subscription. */
const SUBSCRIPTIONS_MAX = 256;
/** Credit that is granted beyond this says nothing more; it keeps the sums exact. */
const CREDIT_MAX = 2 ** 40;
/** Turns of the event loop after which a stream that has ended is known not to be cancelled; two were measured. */
const END_TURNS = 4;

interface Opened {
  readonly topic: Topic;
  readonly progress: TopicProgress;
  readonly filter: MessageFilter;
}

/** What the streams use. */
export interface SubscribeModules {
  readonly topics: TopicCatalog;
  readonly groups: GroupCatalog;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Checks the name that a consumer gives itself. Throws INVALID_ARGUMENT. */
export function checkConsumerId(consumerId: string): void {
  if (CONSUMER_ID.test(consumerId)) return;
  const description = 'a consumer id has 1 to 127 printable ASCII characters without spaces';
  throw new TernError('INVALID_ARGUMENT', 'INVALID_CONSUMER_ID', description, {
    fields: [{ field: 'consumer_id', description }],
  });
}

/** One consumer's stream. */
export class SubscribeStream implements Consumer {
  readonly streaming = true;
  id = '';
  leaseMs = 0;
  creditMessages = 0;
  creditBytes = 0;
  clogged = false;
  readonly address: string;
  opening: SubscriptionOpening | undefined;
  readonly #call: Call;
  readonly #modules: SubscribeModules;
  readonly #others: Map<string, SubscribeStream>;
  #group: Group | undefined;
  #member = '';
  #opened: Opened[] = [];
  /** Set while the subscription is being opened; requests that come meanwhile wait. */
  #openingDone: Promise<void> | undefined;
  #closed = false;

  /** @param others the streams that are open, by group and consumer id */
  constructor(call: Call, modules: SubscribeModules, others: Map<string, SubscribeStream>) {
    this.#call = call;
    this.#modules = modules;
    this.#others = others;
    this.address = call.getPeer();
    call.on('data', (request: SubscribeRequest) => {
      this.#take(request).catch((error: unknown) => this.fail(error));
    });
    call.on('drain', () => {
      this.clogged = false;
      this.#pump();
    });
    call.on('end', () => this.#ended(END_TURNS));
    call.on('cancelled', () => this.#close(false));
    call.on('error', () => this.#close(false));
    call.on('close', () => this.#close(false));
  }

  /** The consumer says nothing more: it has closed the stream, or, which is told later, the stream has broken. */
  #ended(turns: number): void {
    if (turns > 0) {
      this.#modules.clock.defer(() => this.#ended(turns - 1));
      return;
    }
    this.#close(!this.#call.cancelled);
    this.#call.end();
  }

  async #take(request: SubscribeRequest): Promise<void> {
    if (request.open !== undefined) {
      if (this.#openingDone !== undefined) {
        throw new TernError(
          'INVALID_ARGUMENT',
          'ALREADY_OPEN',
          'only the first message of the stream may open the subscription; open another stream',
        );
      }
      this.#openingDone = this.#open(request.open);
    }
    if (this.#openingDone === undefined) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'NOT_OPEN',
        'the first message of the stream must open the subscription',
      );
    }
    if (this.#group === undefined) await this.#openingDone;
    if (this.#closed) return;
    this.creditMessages = Math.min(CREDIT_MAX, this.creditMessages + request.creditMessages);
    this.creditBytes = Math.min(CREDIT_MAX, this.creditBytes + request.creditBytes);
    if (request.settlements.length > 0) this.#settle(request);
    if (request.creditMessages > 0 || request.creditBytes > 0) this.#pump();
  }

  async #open(opening: SubscriptionOpening): Promise<void> {
    const { topics, groups, delivery } = this.#modules;
    checkConsumerId(opening.consumerId);
    checkLeaseMs(opening.leaseMs, 'open.lease_ms');
    const { length } = opening.subscriptions;
    if (length === 0 || length > SUBSCRIPTIONS_MAX) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'INVALID_SUBSCRIPTION',
        `a subscription has 1 to ${SUBSCRIPTIONS_MAX} topics`,
      );
    }
    const wanted = opening.subscriptions.map(({ topic, tags, sql, from }) => ({
      topic: topics.get(topic),
      filter: parseMessageFilter(tags, sql),
      from,
    }));
    const group = groups.getOrCreate(opening.group, opening.ordered);
    this.id = opening.consumerId;
    this.opening = opening;
    this.leaseMs = opening.leaseMs || new RetryPolicy(group.settings).leaseMs;
    this.#member = opening.mode === SubscriptionMode.BROADCASTING ? this.id : '';
    for (const { topic, filter, from } of wanted) {
      const progress = await delivery.begin(group, topic, this.#member, from?.target);
      this.#opened.push({ topic, progress, filter });
    }
    if (this.#closed) return;
    this.#replaceOlder(group);
    this.#group = group;
    this.#send({
      topics: this.#opened.map(({ topic }) => ({
        $typeName: 'ternmq.broker.v1.SubscribedTopic',
        topic: topic.name,
        topicId: topic.id,
      })),
    });
    for (const { topic, progress, filter } of this.#opened) {
      delivery.attach(progress, topic, filter, this);
    }
  }

  #replaceOlder(group: Group): void {
    const name = `${group.id} ${this.id}`;
    this.#others
      .get(name)
      ?.fail(
        new TernError(
          'ABORTED',
          'REPLACED',
          `another stream of consumer ${this.id} has taken over; give each consumer an id of its own`,
        ),
      );
    this.#others.set(name, this);
  }

  #settle(request: SubscribeRequest): void {
    const group = this.#group as Group;
    const { settlements } = request;
    // Before anything else is delivered: the consumer tells by it what is new.
    const retried = settlements.filter(({ action }) => action === Settlement_Action.RETRY);
    if (group.settings.ordered && retried.length > 0) this.#send({ retried });
    const refusals = this.#modules.delivery.settle(
      group,
      this.#member,
      settlementChoices(settlements),
    );
    const failures = settlementFailures(settlements, refusals);
    if (failures.length > 0) this.#send({ failures });
  }

  #send(response: Partial<Pick<SubscribeResponse, 'topics' | 'failures' | 'retried'>>): void {
    const bytes = toBinary(SubscribeResponseSchema, create(SubscribeResponseSchema, response));
    this.#write(Buffer.from(bytes));
  }

  #write(bytes: Buffer): void {
    if (!this.#closed && !this.#call.write(bytes)) this.clogged = true;
  }

  deliver(frame: Buffer): void {
    this.#write(frame);
  }

  end(reason: 'TOPIC_NOT_FOUND' | 'GROUP_NOT_FOUND'): void {
    this.fail(
      new TernError(
        'NOT_FOUND',
        reason,
        `what the consumer subscribed to was deleted (${reason}); create it and subscribe again`,
      ),
    );
  }

  #pump(): void {
    for (const { progress } of this.#opened) this.#modules.delivery.ready(progress);
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (this.#closed) return;
    this.#close(false);
    failStream(this.#call, error);
  }

  #close(clean: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    const group = this.#group;
    if (group === undefined) return;
    const { delivery } = this.#modules;
    for (const { progress } of this.#opened) delivery.detach(progress, this);
    const name = `${group.id} ${this.id}`;
    // A stream that took over holds the leases now.
    if (this.#others.get(name) !== this) return;
    this.#others.delete(name);
    const progress = this.#opened.map((one) => one.progress);
    delivery.streamEnded(group, this.id, progress, clean);
  }
}
