// When senders are answered: each topic says what a message must have come to, or leaves it to the group.
//
//   in sync   every in-sync member has it on its disk, and there are enough of them
//   local     this broker has it, as its flush mode says
//   async     this broker has written it
//
// Nobody is answered by a broker whose lease is over, whatever was asked for.

import { Acknowledgement } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { BrokerOptions } from '../config.ts';
import type { DiskGuard } from '../disk-guard.ts';
import type { CommitLog } from '../log/commit-log.ts';
import { DurableWaiters } from '../log/durable-waiters.ts';
import type { Replicas } from '../replication/replicas.ts';
import type { Topic } from '../state/topics.ts';
import type { SendGate } from './append-frame.ts';
import type { Refusal } from './frame-refusal.ts';

/** What must have become of a message before its sender is answered. */
export type Acknowledged = BrokerOptions['acknowledge'];

/** What topics may ask for. */
export const ACKNOWLEDGED: readonly Acknowledged[] = ['in-sync', 'local', 'async'];

const BY_SETTING: Readonly<Partial<Record<number, Acknowledged>>> = {
  [Acknowledgement.IN_SYNC]: 'in-sync',
  [Acknowledgement.LOCAL]: 'local',
  [Acknowledgement.ASYNC]: 'async',
};

/** Says up to where the log is good enough for an answer. */
export class Acknowledgements implements SendGate {
  readonly #usual: Acknowledged;
  readonly #log: CommitLog;
  readonly #replicas: Pick<Replicas, 'kept' | 'leads' | 'refusal'>;
  readonly #guard: Pick<DiskGuard, 'refusal'>;
  readonly #waiters = new Map(ACKNOWLEDGED.map((asked) => [asked, new DurableWaiters()]));

  #closed: Error | undefined;

  /** @param usual what topics get that do not say */
  constructor(
    usual: Acknowledged,
    modules: {
      log: CommitLog;
      replicas: Pick<Replicas, 'kept' | 'leads' | 'refusal'>;
      guard: Pick<DiskGuard, 'refusal'>;
    },
  ) {
    this.#usual = usual;
    this.#log = modules.log;
    this.#replicas = modules.replicas;
    this.#guard = modules.guard;
  }

  /** What a topic asks for; what the group was told when there is none. */
  askedBy(topic: Topic | undefined): Acknowledged {
    return BY_SETTING[topic?.settings.acknowledgement ?? 0] ?? this.#usual;
  }

  /** Why messages that ask for this are not taken now; undefined when they are. */
  refusal(asked: Acknowledged): Refusal | undefined {
    return this.#replicas.refusal(asked === 'in-sync') ?? this.#guard.refusal();
  }

  /** Position up to which senders that ask for this are answered. */
  reached(asked: Acknowledged): number {
    if (!this.#replicas.leads) return 0;
    if (asked === 'in-sync') return this.#replicas.kept;
    return asked === 'local' ? this.#log.ownVisible : this.#log.written;
  }

  /** Resolves when what was appended before a position may be answered; rejects when this broker leads no more. */
  at(position: number, asked: Acknowledged): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (position <= this.reached(asked)) return Promise.resolve();
    this.#log.requestFlush();
    return this.#waitersOf(asked).add(position);
  }

  /** More may be answered. */
  advanced(): void {
    for (const asked of ACKNOWLEDGED) {
      const waiters = this.#waitersOf(asked);
      if (waiters.some) waiters.reached(this.reached(asked));
    }
  }

  /** Nothing more will be answered. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const asked of ACKNOWLEDGED) this.#waitersOf(asked).fail(reason);
  }

  #waitersOf(asked: Acknowledged): DurableWaiters {
    return this.#waiters.get(asked) as DurableWaiters;
  }
}
