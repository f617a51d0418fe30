// Random lives of an ordered group on a broker's core. What is leased, waits and is settled is read from the progress that
// the log makes; which messages may then go to whom is worked out here, from offsets and keys alone:
//
//   a message may be handed to a session when all earlier unsettled ones of its key are with that very session

import { ManualClock } from '@ternmq/runtime';
import fc from 'fast-check';
import { parseMessageFilter } from '../../services/broker/src/delivery/message-filter.ts';
import type { QueueProgress } from '../../services/broker/src/progress/queue-progress.ts';
import { HELD_MS } from '../../services/broker/src/progress/retry-table.ts';
import type { TopicProgress } from '../../services/broker/src/state/groups.ts';
import type { Topic } from '../../services/broker/src/state/topics.ts';
import { CoreConsumer, CoreRig, coreDisk } from '../support/core-rig.ts';
import { type ModelAction, ModelError } from '../support/delivery-model.ts';
import type { MemoryDisk } from '../support/memory-disk.ts';

const QUEUES = 2;
const TICK_MS = 100;
const LEASE_MS = 3000;
const GRACE_MS = 5000;
/** The first is none. */
const KEYS = ['', 'a', 'b', 'c'];
/** Batches of the state's writer after which the index of a queue without new messages leaves the memory. */
const IDLE_BATCHES = 10;
const CONSUMERS = [
  { id: 'unary', streaming: false },
  { id: 'stream-1', streaming: true },
  { id: 'stream-2', streaming: true },
];

/** One step of a life. Numbers choose among what there is at that time. */
export type OrderedStep =
  | { readonly do: 'send'; readonly queue: number; readonly keys: readonly number[] }
  | { readonly do: 'receive'; readonly consumer: number; readonly max: number }
  | {
      readonly do: 'settle';
      readonly which: number;
      /** Messages from the chosen one on, under its lease. */
      readonly span: number;
      readonly action: ModelAction;
    }
  | { readonly do: 'leave'; readonly consumer: number; readonly clean: boolean }
  | { readonly do: 'release'; readonly which: number; readonly deadLetter: boolean }
  | { readonly do: 'pass'; readonly ticks: number }
  | { readonly do: 'idle' }
  | { readonly do: 'restart'; readonly keepStore: boolean; readonly write: boolean };

const choice = fc.nat(1000);
const action: fc.Arbitrary<ModelAction> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<ModelAction>({ kind: 'acknowledge' }) },
  { weight: 1, arbitrary: fc.constant<ModelAction>({ kind: 'deadLetter' }) },
  { weight: 2, arbitrary: fc.constant<ModelAction>({ kind: 'giveBack' }) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(0, 200, 9000)
      .map<ModelAction>((delayMs) => ({ kind: 'retry', delayMs })),
  },
  { weight: 1, arbitrary: fc.constant<ModelAction>({ kind: 'extend', delayMs: 6000 }) },
);

/** A step of a life. */
export const orderedStep: fc.Arbitrary<OrderedStep> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      queue: choice,
      keys: fc.array(fc.nat(KEYS.length - 1), { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      consumer: choice,
      max: fc.integer({ min: 1, max: 8 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: choice,
      span: fc.integer({ min: 1, max: 6 }),
      action,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('leave' as const),
      consumer: choice,
      clean: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('release' as const),
      which: choice,
      deadLetter: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ticks: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 7, max: 60 })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('idle' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('restart' as const),
      keepStore: fc.boolean(),
      write: fc.boolean(),
    }),
  },
);

interface Delivered {
  readonly queueId: number;
  readonly offset: number;
  readonly leaseId: number;
}

/** One life. Throws ModelError where the rule is broken, or where nothing comes though it might. */
export class OrderedLife {
  readonly #disk: MemoryDisk = coreDisk();
  readonly #clock = new ManualClock();
  readonly #stops: boolean;
  #rig!: CoreRig;
  readonly #attached = new Map<string, CoreConsumer>();
  /** Who got a lease; what was given before a restart is nobody's. */
  readonly #holders = new Map<number, CoreConsumer>();
  /** When streams broke that have not come back, by consumer. */
  readonly #brokenMs = new Map<string, number>();
  readonly #delivered: Delivered[] = [];
  /** Keys of the messages of each queue, by offset. */
  readonly #keys: string[][] = Array.from({ length: QUEUES }, () => []);

  private constructor(stops: boolean) {
    this.#stops = stops;
  }

  /**
   * Runs a life to its end, and then until nothing is left to deliver.
   *
   * @param stops messages stay after their last delivery, and hold their key back
   */
  static async run(steps: readonly OrderedStep[], stops: boolean): Promise<void> {
    const life = new OrderedLife(stops);
    life.#rig = await CoreRig.open(life.#disk, life.#clock);
    try {
      life.#rig.topics.create('t', { queues: QUEUES });
      const group = life.#rig.groups.create('g', {
        attemptsMax: 3,
        retryDelaysMs: [300, 700],
        leaseMs: LEASE_MS,
        ordered: true,
        stops,
      });
      const from = { $typeName: 'ternmq.message.v1.OffsetTarget.Begin' as const };
      await life.#rig.delivery.begin(group, life.#topic, '', { case: 'begin', value: from });
      for (const step of steps) await life.#step(step);
      await life.#drain();
    } finally {
      await life.#rig.kill();
    }
  }

  get #topic(): Topic {
    return this.#rig.topics.get('t');
  }

  get #progress(): TopicProgress {
    const { groups } = this.#rig.stateLog.state;
    return groups.progressIn(this.#rig.groups.get('g'), this.#topic.id, '') as TopicProgress;
  }

  #queue(queueId: number): QueueProgress | undefined {
    return this.#progress.queues[queueId];
  }

  async #step(step: OrderedStep): Promise<void> {
    switch (step.do) {
      case 'send':
        await this.#send(
          step.queue % QUEUES,
          step.keys.map((key) => KEYS[key] as string),
        );
        return;
      case 'receive':
        await this.#receive(step.consumer % CONSUMERS.length, step.max);
        return;
      case 'settle':
        await this.#settle(step.which, step.span, step.action);
        return;
      case 'leave':
        await this.#leave(step.consumer % CONSUMERS.length, step.clean);
        return;
      case 'release':
        await this.#release(step.which, step.deadLetter);
        return;
      case 'pass':
        await this.#pass(step.ticks);
        return;
      case 'idle':
        for (let i = 0; i < IDLE_BATCHES; i++) {
          await this.#send(1, ['']);
          await this.#rig.write();
        }
        return;
      case 'restart': {
        if (step.write) await this.#rig.write();
        await this.#rig.kill();
        const store = step.keepStore ? this.#rig.store : undefined;
        this.#rig = await CoreRig.open(this.#disk, this.#clock, store);
        const now = this.#clock.nowMs();
        for (const { id, streaming } of CONSUMERS) if (streaming) this.#brokenMs.set(id, now);
        this.#attached.clear();
        this.#holders.clear();
        return;
      }
    }
  }

  async #send(queueId: number, keys: readonly string[]): Promise<void> {
    await this.#rig.send({
      topic: 't',
      queueId,
      messages: keys.map((orderingKey) => ({ body: Buffer.from('m'), orderingKey })),
    });
    (this.#keys[queueId] as string[]).push(...keys);
  }

  async #receive(index: number, max: number): Promise<number> {
    const { id, streaming } = CONSUMERS[index] as (typeof CONSUMERS)[number];
    const progress = this.#progress;
    let consumer = this.#attached.get(id);
    if (consumer === undefined) {
      consumer = new CoreConsumer(id, streaming, LEASE_MS);
      this.#rig.delivery.attach(progress, this.#topic, parseMessageFilter('*', ''), consumer);
      if (streaming) this.#attached.set(id, consumer);
      this.#brokenMs.delete(id);
    }
    consumer.creditMessages = max;
    this.#rig.delivery.ready(progress);
    await this.#rig.settled();
    await this.#rig.delivery.loaded(progress);
    consumer.creditMessages = 0;
    const got: Delivered[] = [];
    for (const { messages, leases } of consumer.frames.splice(0)) {
      for (const { queueId, offset } of messages) {
        const lease = leases.find(
          (one) => one.queueId === queueId && offset >= one.firstOffset && offset < one.endOffset,
        );
        if (lease === undefined) throw new ModelError(`offset ${offset} came without a lease`);
        const leaseId = Number(lease.leaseId);
        this.#holders.set(leaseId, consumer);
        got.push({ queueId, offset: Number(offset), leaseId });
      }
    }
    this.#delivered.push(...got);
    this.#checkOrder(got, consumer);
    if (got.length < max) this.#checkNothingLeft(consumer);
    if (!streaming) this.#rig.delivery.detach(progress, consumer);
    return got.length;
  }

  #checkOrder(got: readonly Delivered[], consumer: CoreConsumer): void {
    const last = new Map<string, number>();
    for (const { queueId, offset } of got) {
      const key = this.#keyOf(queueId, offset);
      if (key === '') continue;
      const name = `message ${offset} of queue ${queueId} and key ${key}`;
      if ((last.get(`${queueId} ${key}`) ?? -1) > offset) {
        throw new ModelError(`${name} came behind a newer one`);
      }
      last.set(`${queueId} ${key}`, offset);
      const blocked = this.#heldBackBy(queueId, offset, consumer);
      if (blocked !== undefined) throw new ModelError(`${name} came before ${blocked}`);
    }
  }

  /** An earlier unsettled message of the same key that the consumer's session does not have. */
  #heldBackBy(queueId: number, offset: number, consumer: CoreConsumer): number | undefined {
    const key = this.#keyOf(queueId, offset);
    if (key === '') return undefined;
    const leases = this.#leases(queueId);
    const unsettled = this.#unsettled(queueId);
    for (let earlier = 0; earlier < offset; earlier++) {
      if (!unsettled.has(earlier) || this.#keyOf(queueId, earlier) !== key) continue;
      const leaseId = leases.get(earlier);
      if (leaseId === undefined || this.#holders.get(leaseId) !== consumer) return earlier;
    }
    return undefined;
  }

  /** A consumer that could take more has got everything that it may have. */
  #checkNothingLeft(consumer: CoreConsumer): void {
    const now = this.#clock.nowMs();
    for (let queueId = 0; queueId < QUEUES; queueId++) {
      const leases = this.#leases(queueId);
      for (const offset of this.#unsettled(queueId)) {
        if (leases.has(offset)) continue;
        const dueMs = this.#queue(queueId)?.waiting(offset)?.dueMs ?? 0;
        if (dueMs > now && dueMs !== HELD_MS) continue;
        if (this.#heldBackBy(queueId, offset, consumer) !== undefined) continue;
        const key = this.#keyOf(queueId, offset);
        throw new ModelError(
          `message ${offset} of queue ${queueId} and key '${key}' did not come to ${consumer.id}, and nothing holds it back`,
        );
      }
    }
  }

  #keyOf(queueId: number, offset: number): string {
    return this.#keys[queueId]?.[offset] ?? '';
  }

  /** Lease ids of what is leased, by offset. */
  #leases(queueId: number): Map<number, number> {
    const leases = new Map<number, number>();
    for (const { first, end, leaseId } of this.#queue(queueId)?.leasedRanges() ?? []) {
      for (let offset = first; offset < end; offset++) leases.set(offset, leaseId);
    }
    return leases;
  }

  /** What is not settled: also what was never delivered. */
  #unsettled(queueId: number): Set<number> {
    const unsettled = new Set(this.#queue(queueId)?.unsettledOffsets());
    const end = (this.#keys[queueId] as string[]).length;
    for (let offset = this.#queue(queueId)?.next ?? 0; offset < end; offset++) {
      unsettled.add(offset);
    }
    return unsettled;
  }

  async #settle(which: number, span: number, action: ModelAction): Promise<void> {
    const one = this.#delivered[which % Math.max(1, this.#delivered.length)];
    if (one === undefined) return;
    const { queueId, offset: first, leaseId } = one;
    const end = Math.min(first + span, this.#queue(queueId)?.next ?? 0);
    if (end <= first) return;
    const before = this.#leases(queueId);
    this.#rig.delivery.settle(this.#rig.groups.get('g'), '', [
      {
        topicId: this.#topic.id,
        queueId,
        first,
        end,
        leaseId,
        action: action.kind,
        delayMs: 'delayMs' in action ? action.delayMs : 0,
        reason: '',
      },
    ]);
    await this.#rig.settled();
    if (action.kind !== 'retry' && action.kind !== 'giveBack') return;
    const after = this.#leases(queueId);
    for (let failed = first; failed < end; failed++) {
      if (before.get(failed) !== leaseId) continue;
      for (const offset of after.keys()) {
        const key = this.#keyOf(queueId, failed);
        if (offset !== failed && (key === '' || this.#keyOf(queueId, offset) !== key)) continue;
        if (offset < failed) continue;
        throw new ModelError(
          `message ${offset} of queue ${queueId} stays leased after ${action.kind} of ${failed}`,
        );
      }
    }
  }

  async #leave(index: number, clean: boolean): Promise<void> {
    const { id } = CONSUMERS[index] as (typeof CONSUMERS)[number];
    const consumer = this.#attached.get(id);
    if (consumer === undefined) return;
    this.#attached.delete(id);
    this.#rig.delivery.detach(this.#progress, consumer);
    this.#rig.delivery.streamEnded(this.#rig.groups.get('g'), id, [this.#progress], clean);
    await this.#rig.settled();
    if (clean) this.#checkHasNothing(id, 'closed');
    else this.#brokenMs.set(id, this.#clock.nowMs());
  }

  #checkHasNothing(id: string, how: string): void {
    for (let queueId = 0; queueId < QUEUES; queueId++) {
      const leased = this.#queue(queueId)?.leasesOf(id, true) ?? [];
      const [one] = leased;
      if (one === undefined) continue;
      throw new ModelError(`${id} has ${how}, and keeps message ${one.first} of queue ${queueId}`);
    }
  }

  async #release(which: number, deadLetter: boolean): Promise<void> {
    const stopped = this.#stopped();
    const one = stopped[which % Math.max(1, stopped.length)];
    if (one === undefined) return;
    const { queueId, offset } = one;
    await this.#rig.delivery.release(
      this.#rig.groups.get('g'),
      this.#topic,
      queueId,
      offset,
      deadLetter,
    );
    await this.#rig.settled();
  }

  #stopped(): { queueId: number; offset: number }[] {
    return this.#progress.queues.flatMap((queue, queueId) =>
      queue.stopped().map(({ offset }) => ({ queueId, offset })),
    );
  }

  async #pass(ticks: number): Promise<void> {
    for (let i = 0; i < ticks; i++) {
      this.#clock.advance(TICK_MS);
      await this.#rig.settled();
    }
    const now = this.#clock.nowMs();
    for (const [id, sinceMs] of this.#brokenMs) {
      if (now - sinceMs > GRACE_MS) this.#checkHasNothing(id, 'been gone for the grace');
    }
  }

  /** Lets time pass and acknowledges everything: nothing may be left then. */
  async #drain(): Promise<void> {
    for (let rounds = 0; rounds < 60; rounds++) {
      for (let which = this.#stopped().length - 1; which >= 0; which--) {
        await this.#release(which, rounds % 2 === 0);
      }
      const before = this.#delivered.length;
      while ((await this.#receive(0, 8)) > 0);
      for (let which = before; which < this.#delivered.length; which++) {
        await this.#settle(which, 1, { kind: 'acknowledge' });
      }
      if ([0, 1].every((queueId) => this.#unsettled(queueId).size === 0)) return;
      await this.#pass(10);
    }
    const left = [0, 1].map((queueId) => this.#unsettled(queueId).size);
    throw new ModelError(`${left} messages are never done with${this.#stops ? ', some stop' : ''}`);
  }
}
