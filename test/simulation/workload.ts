// Applications: producers that never stop, members of a group that take everything, and what they were told.

import { type Client, isMqError, type Receipt } from '@ternmq/sdk';
import type { SimCluster } from './cluster.ts';
import type { Process } from './world.ts';

/** The topic that all messages go to. */
export const TOPIC = 'orders';
/** Queues of it in each broker group. */
export const QUEUES = 2;
/** The group that takes them. */
export const GROUP = 'readers';
const PRODUCERS = 2;
const KEYS = 3;
/** Shortest and longest pause between two messages of a producer, in milliseconds. */
const PAUSE_MS: readonly [number, number] = [20, 400];
const UNDER_WAY_MAX = 50;
const DEADLINE_MS = 15_000;

/** A message, and what its sender was told. */
export interface Sent {
  readonly id: number;
  /** Ordering key; empty when it has none. */
  readonly key: string;
  receipt: Receipt | undefined;
  /** Why it failed; it may be stored nevertheless. */
  failure: string | undefined;
}

/** All that applications know. */
export interface History {
  readonly sent: Sent[];
  /** How often each message was received, by its id. */
  readonly received: Map<number, number>;
}

/** Sends and receives until it is told to stop. */
export class Workload {
  readonly history: History = { sent: [], received: new Map() };
  readonly #cluster: SimCluster;
  readonly #clients: Client[] = [];
  #stopping = false;
  #underWay = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** Makes topic and group, and begins. */
  async start(): Promise<void> {
    const { world, applications } = this.#cluster;
    const [sending, reading] = applications as [Process, Process];
    const sender = await this.#client(sending);
    const settings = { queues: QUEUES };
    await world.settled(
      world.as(sending, () => sender.admin.createTopic(TOPIC, settings)),
      10_000,
    );
    await world.settled(
      world.as(sending, () =>
        sender.admin.createGroup(GROUP, { leaseMs: 2000, retryDelaysMs: [100], attemptsMax: 1000 }),
      ),
      10_000,
    );
    for (let i = 0; i < PRODUCERS; i++) this.#produce(sender, sending, i);
    const reader = await this.#client(reading);
    for (let i = 0; i < 2; i++) this.#consume(reader, reading);
  }

  async #client(process: Process): Promise<Client> {
    const { world, nameservers } = this.#cluster;
    // The SDK finds its modules replaced only when it is loaded after them.
    const { Client } = await import('@ternmq/sdk');
    const client = world.as(
      process,
      () => new Client({ nameservers, clientId: process.host, clock: world.clockOf(process) }),
    );
    this.#clients.push(client);
    return client;
  }

  #produce(client: Client, process: Process, number: number): void {
    const { world } = this.#cluster;
    const producer = world.as(process, () => client.producer({ deadlineMs: DEADLINE_MS }));
    const [min, max] = PAUSE_MS;
    const next = (): void => {
      if (this.#stopping) return;
      world.after(min + world.random.next() * (max - min), process, next);
      if (this.#underWay >= UNDER_WAY_MAX) return;
      const { sent } = this.history;
      const key =
        world.random.integer(2) === 0 ? `key-${number}-${world.random.integer(KEYS)}` : '';
      const one: Sent = { id: sent.length, key, receipt: undefined, failure: undefined };
      sent.push(one);
      this.#underWay++;
      const message = {
        body: `${one.id} ${'x'.repeat(world.random.integer(200))}`,
        ...(key === '' ? {} : { orderingKey: key }),
      };
      producer
        .send(TOPIC, message)
        .then(
          (receipt) => {
            one.receipt = receipt;
          },
          (error: unknown) => {
            if (!isMqError(error)) throw error;
            one.failure = error.code;
          },
        )
        .finally(() => {
          this.#underWay--;
        });
    };
    next();
  }

  #consume(client: Client, process: Process): void {
    this.#cluster.world.as(process, () => {
      const consumer = client.consumer(GROUP, { from: 'first' });
      consumer.subscribe(TOPIC);
      consumer.run(async (message) => {
        const id = Number.parseInt(message.text(), 10);
        this.history.received.set(id, (this.history.received.get(id) ?? 0) + 1);
      });
    });
  }

  /** Sends no more. */
  stop(): void {
    this.#stopping = true;
  }

  /** Has every send its outcome? */
  get settled(): boolean {
    return this.#underWay === 0;
  }

  /** Has everything arrived that was acknowledged? */
  get drained(): boolean {
    return this.history.sent.every(
      ({ id, receipt }) => receipt === undefined || this.history.received.has(id),
    );
  }
}
