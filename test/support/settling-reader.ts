import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type Lease,
  Settlement_Action,
  type StoredMessage,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { BrokerClient } from './broker-client.ts';

const MESSAGES_MAX = 256;
const WAIT_MS = 500;
const RETRY_MS = 50;

const { receive, settle } = BrokerService.method;

/** What a reader reads, and whom it tells what it got. */
export interface SettlingReaderOptions {
  readonly group: string;
  readonly topic: string;
  /** The group is ordered. */
  readonly ordered?: boolean;
  /** Most messages at a time, 1 to 256; 256 when absent. */
  readonly messagesMax?: number;
  /** A message has come. False fails it; of an ordered group nothing of its key is taken then until it comes again. */
  readonly received: (message: StoredMessage, attempt: number) => boolean;
  /** The broker has confirmed that the group is done with the message at this place. */
  readonly settled: (queue: number, offset: number) => void;
}

/** Messages of one lease that are settled alike. */
interface Stretch {
  readonly lease: Lease;
  readonly first: number;
  end: number;
  readonly done: boolean;
}

/**
 * Leases messages for a group and settles them, by single calls. Unlike a consumer on a stream it learns when a
 * settlement is durable, and tells.
 */
export class SettlingReader implements AsyncDisposable {
  readonly #client: BrokerClient;
  readonly #options: SettlingReaderOptions;
  readonly #ended: Promise<void>;
  #ending = false;

  /** Starts to read. */
  constructor(client: BrokerClient, options: SettlingReaderOptions) {
    this.#client = client;
    this.#options = options;
    this.#ended = this.#run();
  }

  /** Stops reading; resolves when nothing more will be told. */
  async finish(): Promise<void> {
    this.#ending = true;
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish();
  }

  async #run(): Promise<void> {
    while (!this.#ending) {
      // A broker that is down is waited for; what was not confirmed is delivered again.
      await this.#readBatch().catch(() => {});
    }
  }

  async #readBatch(): Promise<void> {
    const { group, topic, ordered } = this.#options;
    const { messages, leases } = await this.#client.call(receive, {
      group,
      subscription: { topic, from: { target: { case: 'begin', value: {} } } },
      messagesMax: this.#options.messagesMax ?? MESSAGES_MAX,
      waitMs: WAIT_MS,
      ...(ordered === undefined ? {} : { ordered }),
    });
    const stretches = this.#handle(messages, leases);
    if (stretches.length === 0) return;
    const settlements = stretches.map(({ lease, first, end, done }) => ({
      topicId: lease.topicId,
      queueId: lease.queueId,
      leaseId: lease.leaseId,
      firstOffset: BigInt(first),
      endOffset: BigInt(end),
      action: done ? Settlement_Action.ACKNOWLEDGE : Settlement_Action.RETRY,
      delayMs: done ? 0 : RETRY_MS,
    }));
    const { failures } = await this.#client.call(settle, { group, settlements });
    const failed = new Set(
      failures.map(({ settlement }) => `${settlement?.leaseId} ${settlement?.firstOffset}`),
    );
    for (const { lease, first, end, done } of stretches) {
      if (!done || failed.has(`${lease.leaseId} ${first}`)) continue;
      for (let offset = first; offset < end; offset++) {
        this.#options.settled(lease.queueId, offset);
      }
    }
  }

  /** Hands messages over; returns how to settle them. */
  #handle(messages: readonly StoredMessage[], leases: readonly Lease[]): Stretch[] {
    const stretches: Stretch[] = [];
    const failedKeys = new Set<string>();
    for (const message of messages) {
      const { queueId, offset } = message;
      const lease = leases.find(
        (one) => one.queueId === queueId && offset >= one.firstOffset && offset < one.endOffset,
      );
      if (lease === undefined) throw new Error(`queue ${queueId} offset ${offset} has no lease`);
      const key = message.message?.orderingKey ?? '';
      // The broker takes back by itself what was delivered behind a failed message.
      if (failedKeys.has(key)) continue;
      const done = this.#options.received(message, lease.attempt);
      if (!done && this.#options.ordered === true && key !== '') failedKeys.add(key);
      const at = Number(offset);
      const last = stretches.at(-1);
      if (last?.lease === lease && last.end === at && last.done === done) last.end++;
      else stretches.push({ lease, first: at, end: at + 1, done });
    }
    return stretches;
  }
}
