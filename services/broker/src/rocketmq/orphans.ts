// Asks connected producers for the outcome of transactions that nobody decides. The brokers that have them say when it is
// time (WatchTransactions); the producers of a topic are the producer group of the topic's name.

import { Client, type ClientReadableStream, credentials } from '@grpc/grpc-js';
import {
  BrokerService,
  type WatchTransactionsResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, openServerStream, type Timer } from '@ternmq/runtime';
import type { Brokers } from './brokers.ts';
import type { Clients } from './clients.ts';
import { messageOut } from './message-out.ts';
import { commandOf } from './telemetry.ts';

/** How often it is looked which topics have producers, and who serves them. */
const LOOK_MS = 1000;
const WATCHED_MAX = 10_000;

/** A stream of questions of one broker about one topic. */
interface Watch {
  readonly address: string;
  readonly client: Client;
  readonly stream: ClientReadableStream<WatchTransactionsResponse>;
}

/** Passes questions on. */
export class Orphans {
  readonly #brokers: Brokers;
  readonly #clients: Clients;
  readonly #timer: Timer;
  /** By topic and broker. */
  readonly #watches = new Map<string, Watch>();
  #looking = false;
  #closed = false;

  constructor(brokers: Brokers, clients: Clients, clock: Clock) {
    this.#brokers = brokers;
    this.#clients = clients;
    this.#timer = clock.every(LOOK_MS, () => void this.#look());
  }

  /** Asks nobody any more. */
  close(): void {
    this.#closed = true;
    this.#timer.cancel();
    for (const key of [...this.#watches.keys()]) this.#end(key);
  }

  /** Watches what has producers, and nothing else. */
  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const wanted = new Set<string>();
      const topics = new Set<string>();
      for (const { topics: sent, streams } of this.#clients.all()) {
        if (streams.size > 0) for (const topic of sent) topics.add(topic);
      }
      for (const topic of topics) {
        for (const { brokerName, address } of await this.#brokers.mastersOf(topic)) {
          const key = `${topic} ${brokerName}`;
          wanted.add(key);
          if (this.#watches.get(key)?.address !== address)
            this.#watch(key, topic, brokerName, address);
        }
      }
      for (const key of [...this.#watches.keys()]) if (!wanted.has(key)) this.#end(key);
    } finally {
      this.#looking = false;
    }
  }

  #watch(key: string, topic: string, brokerName: string, address: string): void {
    this.#end(key);
    if (this.#closed || this.#watches.size >= WATCHED_MAX) return;
    const client = new Client(address, credentials.createInsecure(), {
      'grpc.enable_http_proxy': 0,
    });
    const { watchTransactions } = BrokerService.method;
    const stream = openServerStream(client, watchTransactions, { producerGroup: topic });
    const watch = { address, client, stream };
    this.#watches.set(key, watch);
    stream.on('data', (question: WatchTransactionsResponse) =>
      this.#ask(topic, brokerName, question),
    );
    // The next look opens it anew.
    const ended = (): void => {
      if (this.#watches.get(key) === watch) this.#end(key);
    };
    stream.on('error', ended);
    stream.on('end', ended);
  }

  /** Asks the first producer that takes the question; the broker asks again when nobody answers. */
  #ask(
    topic: string,
    brokerName: string,
    { transaction, messages }: WatchTransactionsResponse,
  ): void {
    const [stored] = messages;
    if (transaction === undefined || stored?.message === undefined) return;
    const { transactionId } = transaction;
    const message = messageOut(stored, brokerName, {
      $typeName: 'apache.rocketmq.v2.Resource',
      resourceNamespace: '',
      name: topic,
    });
    const command = commandOf({
      command: {
        case: 'recoverOrphanedTransactionCommand',
        value: {
          $typeName: 'apache.rocketmq.v2.RecoverOrphanedTransactionCommand',
          message,
          transactionId,
        },
      },
    });
    for (const { topics, streams } of this.#clients.all()) {
      if (!topics.includes(topic)) continue;
      for (const stream of streams) if (stream.send(command)) return;
    }
  }

  #end(key: string): void {
    const watch = this.#watches.get(key);
    if (watch === undefined) return;
    this.#watches.delete(key);
    watch.stream.cancel();
    watch.client.close();
  }
}
