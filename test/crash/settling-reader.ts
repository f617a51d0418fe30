import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { BrokerClient } from '../support/broker-client.ts';
import { LedgerWriter } from '../support/ledger-event.ts';
import { digestOf, nameIn } from '../support/message-body.ts';

const MESSAGES_MAX = 256;
const WAIT_MS = 500;

const { receive, settle } = BrokerService.method;

/** What a reader reads, and where it tells what it got. */
export interface SettlingReaderOptions {
  readonly group: string;
  readonly topic: string;
  /** The group's number in the ledger. */
  readonly reader: number;
  /** File that its ledger goes to. */
  readonly ledger: string;
}

/**
 * Leases messages for a group and settles them. Unlike a consumer on a stream it learns when a settlement
 * is durable, and tells the ledger.
 */
export class SettlingReader implements AsyncDisposable {
  readonly #client: BrokerClient;
  readonly #options: SettlingReaderOptions;
  readonly #ledger: LedgerWriter;
  readonly #ended: Promise<void>;
  #ending = false;

  /** Starts to read. */
  constructor(client: BrokerClient, options: SettlingReaderOptions) {
    this.#client = client;
    this.#options = options;
    this.#ledger = new LedgerWriter(options.ledger);
    this.#ended = this.#run();
  }

  /** Stops reading and completes the ledger. */
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
    this.#ledger.close();
  }

  async #readBatch(): Promise<void> {
    const { group, topic, reader } = this.#options;
    const { messages, leases } = await this.#client.call(receive, {
      group,
      subscription: { topic, from: { target: { case: 'begin', value: {} } } },
      messagesMax: MESSAGES_MAX,
      waitMs: WAIT_MS,
    });
    for (const { message, queueId: queue, offset } of messages) {
      const body = message?.body ?? new Uint8Array();
      const place = { queue, offset: Number(offset) };
      const digest = digestOf(body);
      this.#ledger.write({ kind: 'received', reader, ...nameIn(body), ...place, digest });
    }
    if (leases.length === 0) return;
    const settlements = leases.map(({ topicId, queueId, firstOffset, endOffset, leaseId }) => ({
      ...{ topicId, queueId, firstOffset, endOffset, leaseId },
      action: Settlement_Action.ACKNOWLEDGE,
    }));
    const { failures } = await this.#client.call(settle, { group, settlements });
    const failed = new Set(failures.map(({ settlement }) => settlement?.leaseId));
    for (const { queueId: queue, firstOffset, endOffset, leaseId } of leases) {
      if (failed.has(leaseId)) continue;
      for (let offset = Number(firstOffset); offset < Number(endOffset); offset++) {
        this.#ledger.write({ kind: 'settled', reader, queue, offset });
      }
    }
  }
}
