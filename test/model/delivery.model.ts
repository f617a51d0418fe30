// Random lives of a topic and its group on a broker's core, held against the model step by step.

import { create, toBinary } from '@bufbuild/protobuf';
import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { ManualClock } from '@ternmq/runtime';
import fc from 'fast-check';
import { parseMessageFilter } from '../../services/broker/src/delivery/message-filter.ts';
import type { TopicProgress } from '../../services/broker/src/state/groups.ts';
import type { Topic } from '../../services/broker/src/state/topics.ts';
import { CoreConsumer, CoreRig, coreDisk } from '../support/core-rig.ts';
import {
  DeliveryModel,
  type ModelAction,
  type ModelDelivery,
  ModelError,
} from '../support/delivery-model.ts';
import type { MemoryDisk } from '../support/memory-disk.ts';

const TICK_MS = 100;
const SETTINGS = {
  attemptsMax: 3,
  retryDelaysMs: [300, 700],
  leaseMs: 1000,
  tickMs: TICK_MS,
  graceMs: 5000,
};
const QUEUES = 2;

/** One step of a life. Numbers choose among what there is at that time. */
export type Step =
  | { readonly do: 'send'; readonly queue: number; readonly count: number }
  | { readonly do: 'delay'; readonly ticks: number; readonly count: number }
  | { readonly do: 'recall'; readonly which: number }
  | { readonly do: 'begin'; readonly count: number }
  | { readonly do: 'end'; readonly which: number; readonly commit: boolean }
  | { readonly do: 'receive'; readonly consumer: number; readonly max: number }
  | { readonly do: 'settle'; readonly which: number; readonly action: ModelAction }
  | { readonly do: 'leave'; readonly consumer: number; readonly clean: boolean }
  | { readonly do: 'pass'; readonly ticks: number }
  | { readonly do: 'restart'; readonly keepStore: boolean; readonly write: boolean };

const small = fc.integer({ min: 1, max: 4 });
const choice = fc.nat(1000);
const action: fc.Arbitrary<ModelAction> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<ModelAction>({ kind: 'acknowledge' }) },
  { weight: 1, arbitrary: fc.constant<ModelAction>({ kind: 'deadLetter' }) },
  { weight: 1, arbitrary: fc.constant<ModelAction>({ kind: 'giveBack' }) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(0, 200, 1500)
      .map<ModelAction>((delayMs) => ({ kind: 'retry', delayMs })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(500, 3000)
      .map<ModelAction>((delayMs) => ({ kind: 'extend', delayMs })),
  },
);

/** A step of a life. */
export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('send' as const), queue: choice, count: small }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('delay' as const),
      ticks: fc.integer({ min: 1, max: 30 }),
      count: small,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('recall' as const), which: choice }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('begin' as const), count: small }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('end' as const), which: choice, commit: fc.boolean() }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      consumer: choice,
      max: fc.integer({ min: 1, max: 8 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant('settle' as const), which: choice, action }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('leave' as const),
      consumer: choice,
      clean: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ticks: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 7, max: 60 })),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('restart' as const),
      keepStore: fc.boolean(),
      write: fc.boolean(),
    }),
  },
);

/** Changes what the broker says or is told, as a bug would. */
export interface PlantedBug {
  deliveries?(deliveries: ModelDelivery[]): ModelDelivery[];
  action?(action: ModelAction): ModelAction;
  ticks?(ticks: number): number;
  delayMs?(delayMs: number): number;
  commit?(commit: boolean): boolean;
}

const CONSUMERS = [
  { id: 'unary', streaming: false },
  { id: 'stream-1', streaming: true },
  { id: 'stream-2', streaming: true },
];

/** One life. Throws ModelError when the broker and the model differ. */
export class Life {
  readonly #bug: PlantedBug;
  readonly #disk: MemoryDisk;
  readonly #clock = new ManualClock();
  readonly #model: DeliveryModel;
  #rig: CoreRig;
  readonly #attached = new Map<string, CoreConsumer>();
  /** What was delivered: it may be settled again and again. */
  readonly #delivered: { name: string; leaseId: number; queueId: number; offset: number }[] = [];
  readonly #delayed: { name: string; offset: number }[] = [];
  readonly #begun: { names: string[]; first: number; ended: boolean }[] = [];
  #names = 0;

  private constructor(bug: PlantedBug, disk: MemoryDisk, rig: CoreRig) {
    this.#bug = bug;
    this.#disk = disk;
    this.#rig = rig;
    this.#model = new DeliveryModel(SETTINGS, this.#clock.nowMs());
  }

  /** Runs a life to its end, and then until nothing is left to deliver. */
  static async run(steps: readonly Step[], bug: PlantedBug = {}): Promise<void> {
    const disk = coreDisk();
    const life = new Life(bug, disk, undefined as unknown as CoreRig);
    life.#rig = await CoreRig.open(disk, life.#clock);
    try {
      life.#rig.topics.create('t', { queues: QUEUES });
      const group = life.#rig.groups.create('g', {
        ...SETTINGS,
        ordered: false,
        stops: false,
        retryDelaysMs: [...SETTINGS.retryDelaysMs],
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
    const group = this.#rig.groups.get('g');
    return groups.progressIn(group, this.#topic.id, '') as TopicProgress;
  }

  async #step(step: Step): Promise<void> {
    switch (step.do) {
      case 'send': {
        const names = this.#named(step.count);
        await this.#rig.send({
          topic: 't',
          queueId: step.queue % QUEUES,
          messages: names.map((body) => ({ body: Buffer.from(body) })),
        });
        for (const name of names) this.#model.sent(name);
        return;
      }
      case 'delay': {
        const names = this.#named(step.count);
        const delayMs = step.ticks * TICK_MS;
        const told = this.#bug.delayMs?.(delayMs) ?? delayMs;
        const { offset } = await this.#rig.send({
          topic: 't',
          messages: names.map((body) => ({ body: Buffer.from(body), delayMs: BigInt(told) })),
        });
        for (const [i, name] of names.entries()) {
          this.#model.sent(name, this.#model.nowMs + delayMs);
          this.#delayed.push({ name, offset: offset + i });
        }
        return;
      }
      case 'recall': {
        const one = this.#delayed[step.which % Math.max(1, this.#delayed.length)];
        if (one === undefined) return;
        const waits = this.#rig.stateLog.state.held.isPending(one.offset);
        if (waits) this.#rig.held.drop([one.offset]);
        await this.#rig.settled();
        if (this.#model.recalled(one.name) !== waits) {
          throw new ModelError(`message ${one.name} ${waits ? 'waits' : 'does not wait'}`);
        }
        return;
      }
      case 'begin': {
        const names = this.#named(step.count);
        const { offset } = await this.#rig.send({
          topic: 't',
          transaction: { producerGroup: 'p' },
          messages: names.map((body) => ({ body: Buffer.from(body) })),
        });
        for (const name of names) this.#model.sent(name, Number.POSITIVE_INFINITY);
        this.#begun.push({ names, first: offset, ended: false });
        return;
      }
      case 'end': {
        const one = this.#begun[step.which % Math.max(1, this.#begun.length)];
        if (one === undefined || one.ended) return;
        one.ended = true;
        const commit = this.#bug.commit?.(step.commit) ?? step.commit;
        const state = commit ? TransactionState.COMMITTED : TransactionState.ROLLED_BACK;
        await this.#rig.transactions.end(one.first, state, 'the test');
        await this.#rig.settled();
        this.#model.decided(one.names, step.commit);
        return;
      }
      case 'receive':
        await this.#receive(step.consumer % CONSUMERS.length, step.max);
        return;
      case 'settle':
        await this.#settle(step.which, step.action);
        return;
      case 'leave':
        await this.#leave(step.consumer % CONSUMERS.length, step.clean);
        return;
      case 'pass':
        await this.#pass(step.ticks);
        return;
      case 'restart': {
        if (step.write) await this.#rig.write();
        await this.#rig.kill();
        const store = step.keepStore ? this.#rig.store : undefined;
        this.#rig = await CoreRig.open(this.#disk, this.#clock, store);
        this.#attached.clear();
        this.#model.restarted();
        return;
      }
    }
  }

  #named(count: number): string[] {
    return Array.from({ length: count }, () => `m${this.#names++}`);
  }

  async #receive(index: number, max: number): Promise<number> {
    const { id, streaming } = CONSUMERS[index] as (typeof CONSUMERS)[number];
    const progress = this.#progress;
    let consumer = this.#attached.get(id);
    if (consumer === undefined) {
      consumer = new CoreConsumer(id, streaming, SETTINGS.leaseMs);
      this.#rig.delivery.attach(progress, this.#topic, parseMessageFilter('*', ''), consumer);
      if (streaming) this.#attached.set(id, consumer);
    }
    consumer.creditMessages = max;
    this.#rig.delivery.ready(progress);
    await this.#rig.settled();
    await this.#rig.delivery.loaded(progress);
    consumer.creditMessages = 0;
    if (!streaming) this.#rig.delivery.detach(progress, consumer);
    let deliveries: ModelDelivery[] = [];
    for (const { messages, leases } of consumer.frames.splice(0)) {
      for (const { message, queueId, offset } of messages) {
        const lease = leases.find(
          (one) => one.queueId === queueId && offset >= one.firstOffset && offset < one.endOffset,
        );
        if (lease === undefined) throw new ModelError(`offset ${offset} came without a lease`);
        const name = Buffer.from(message?.body ?? []).toString();
        const leaseId = Number(lease.leaseId);
        deliveries.push({
          name,
          leaseId,
          attempt: lease.attempt,
          deadlineMs: Number(lease.deadlineMs),
        });
        this.#delivered.push({ name, leaseId, queueId, offset: Number(offset) });
      }
    }
    deliveries = this.#bug.deliveries?.(deliveries) ?? deliveries;
    this.#model.received(id, streaming, max, deliveries);
    return deliveries.length;
  }

  async #settle(which: number, action: ModelAction): Promise<void> {
    const one = this.#delivered[which % Math.max(1, this.#delivered.length)];
    if (one === undefined) return;
    const { name, queueId, offset, leaseId } = one;
    const told = this.#bug.action?.(action) ?? action;
    const [refusal] = this.#rig.delivery.settle(this.#rig.groups.get('g'), '', [
      {
        topicId: this.#topic.id,
        queueId,
        first: offset,
        end: offset + 1,
        leaseId,
        action: told.kind,
        delayMs: 'delayMs' in told ? told.delayMs : 0,
        reason: '',
      },
    ]);
    await this.#rig.settled();
    const expected = this.#model.settled(name, leaseId, action);
    if ((refusal !== undefined) !== (expected === 'refused')) {
      throw new ModelError(
        `${action.kind} of message ${name} was ${refusal?.reason ?? 'carried out'}, and should be ${expected}`,
      );
    }
  }

  async #leave(index: number, clean: boolean): Promise<void> {
    const { id, streaming } = CONSUMERS[index] as (typeof CONSUMERS)[number];
    const consumer = this.#attached.get(id);
    if (!streaming || consumer === undefined) return;
    this.#attached.delete(id);
    this.#rig.delivery.detach(this.#progress, consumer);
    this.#rig.delivery.streamEnded(this.#rig.groups.get('g'), id, [this.#progress], clean);
    await this.#rig.settled();
    this.#model.left(id, clean);
  }

  async #pass(ticks: number): Promise<void> {
    const really = this.#bug.ticks?.(ticks) ?? ticks;
    for (let i = 0; i < really; i++) {
      this.#clock.advance(TICK_MS);
      await this.#rig.settled();
    }
    this.#model.passed(ticks * TICK_MS);
  }

  /** Decides what is open, lets time pass, and acknowledges everything: nothing may be missing then, or be there twice. */
  async #drain(): Promise<void> {
    for (const [which] of this.#begun.entries())
      await this.#step({ do: 'end', which, commit: true });
    for (let rounds = 0; rounds < 40; rounds++) {
      await this.#pass(rounds < 2 ? 50 : 10);
      const before = this.#delivered.length;
      while ((await this.#receive(0, 8)) > 0);
      for (let which = before; which < this.#delivered.length; which++) {
        await this.#settle(which, { kind: 'acknowledge' });
      }
      const left = ['held', 'ready', 'leased', 'waiting'] as const;
      if (left.every((state) => this.#model.named(state).length === 0)) break;
    }
    for (const state of ['held', 'ready', 'leased', 'waiting'] as const) {
      const names = this.#model.named(state);
      if (names.length > 0) throw new ModelError(`${names.length} messages stay ${state}`);
    }
    const buried = await this.#buried();
    const dead = this.#model.named('dead').sort();
    if (buried.join() !== dead.join()) {
      throw new ModelError(`the dead letters are ${buried}, and should be ${dead}`);
    }
  }

  async #buried(): Promise<string[]> {
    const { state, log } = this.#rig.stateLog;
    const queue = this.#rig.topics.find('%DLQ%g')?.queues[0];
    const found: string[] = [];
    for (let offset = 0; offset < (queue?.next ?? 0); offset++) {
      const { position, length } = state.locate(queue as NonNullable<typeof queue>, offset);
      await log.read.load(position, length);
      const record = log.read.find(position, length) as Buffer;
      // The only field before the body is fixed in width, and the body is the message's first field.
      const name = /m\d+/.exec(record.subarray(93).toString('latin1'))?.[0] ?? '';
      found.push(name);
    }
    return found.sort();
  }
}

/** Bytes of a message, for those who look at records. */
export function messageBytes(body: string): Uint8Array {
  return toBinary(MessageSchema, create(MessageSchema, { body: Buffer.from(body) }));
}
