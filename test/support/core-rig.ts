// A broker's core without network, disk and LMDB: everything between a frame and a consumer, on files in memory and a
// clock that the test turns by hand. What is asked of it is done when the returned promise resolves.

import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  type ReceiveResponse,
  ReceiveResponseSchema,
  SendRequestSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { createLogger, type ManualClock } from '@ternmq/runtime';
import { GroupCatalog } from '../../services/broker/src/catalog/group-catalog.ts';
import { TopicCatalog } from '../../services/broker/src/catalog/topic-catalog.ts';
import { Collector } from '../../services/broker/src/delivery/collect.ts';
import type { Consumer } from '../../services/broker/src/delivery/consumer.ts';
import { DeadLetters } from '../../services/broker/src/delivery/dead-letters.ts';
import { Delivery } from '../../services/broker/src/delivery/delivery.ts';
import { OffsetFinder } from '../../services/broker/src/delivery/offsets.ts';
import { DiskGuard } from '../../services/broker/src/disk-guard.ts';
import { FrameAppender } from '../../services/broker/src/grpc/append-frame.ts';
import { EvenClock } from '../../services/broker/src/held/even-clock.ts';
import { HeldRelease } from '../../services/broker/src/held/held-release.ts';
import { LOG_DEFAULTS } from '../../services/broker/src/log/log-options.ts';
import { openMemoryStore } from '../../services/broker/src/state/memory-store.ts';
import { NO_HOST } from '../../services/broker/src/state/message-record.ts';
import { type OpenedState, openState } from '../../services/broker/src/state/open-state.ts';
import { StateLog } from '../../services/broker/src/state/state-log.ts';
import { StateWriter } from '../../services/broker/src/state/state-writer.ts';
import type { StateStore } from '../../services/broker/src/state/store.ts';
import { TimerRelease } from '../../services/broker/src/timers/timer-release.ts';
import { Transactions } from '../../services/broker/src/transactions/transactions.ts';
import { MemoryDisk } from './memory-disk.ts';

const quiet = createLogger({ level: 'silent' });
const CREDIT_BYTES = 1 << 30;
const TURNS = 6;

/** A consumer whose deliveries are kept for the test. */
export class CoreConsumer implements Consumer {
  readonly id: string;
  readonly streaming: boolean;
  readonly leaseMs: number;
  creditMessages = 0;
  creditBytes = CREDIT_BYTES;
  readonly clogged = false;
  readonly frames: ReceiveResponse[] = [];

  constructor(id: string, streaming: boolean, leaseMs: number) {
    this.id = id;
    this.streaming = streaming;
    this.leaseMs = leaseMs;
  }

  deliver(frame: Buffer): void {
    this.frames.push(fromBinary(ReceiveResponseSchema, frame));
  }

  end(): void {}
}

/** The core of a broker. */
export class CoreRig {
  readonly #opened: OpenedState;
  readonly #writer: StateWriter;
  readonly #guard: DiskGuard;
  readonly #timers: TimerRelease;
  readonly #appender: FrameAppender;
  readonly stateLog: StateLog;
  readonly topics: TopicCatalog;
  readonly groups: GroupCatalog;
  readonly delivery: Delivery;
  readonly held: HeldRelease;
  readonly transactions: Transactions;

  private constructor(opened: OpenedState, guard: DiskGuard, clock: ManualClock) {
    const { log, state, store } = opened;
    this.#opened = opened;
    this.#guard = guard;
    const failed = (error: Error): void => {
      throw error;
    };
    this.stateLog = new StateLog(log, state, clock);
    const { stateLog } = this;
    this.#writer = new StateWriter(opened.storePosition, { log, state, store, clock }, failed);
    this.topics = new TopicCatalog(
      { autoCreateTopics: false, queuesDefault: 2 },
      { stateLog, changed: (topic, deleted) => this.delivery?.topicChanged(topic, deleted) },
    );
    this.groups = new GroupCatalog({ autoCreateGroups: false }, { stateLog });
    const collector = new Collector({ log, state, logger: quiet });
    this.delivery = new Delivery({
      stateLog,
      topics: this.topics,
      groups: this.groups,
      offsets: new OffsetFinder({ log, state }),
      collector,
      deadLetters: new DeadLetters({ stateLog, catalog: this.topics, collector, logger: quiet }),
      clock,
      logger: quiet,
    });
    this.held = new HeldRelease({ stateLog, collector, logger: quiet });
    const time = new EvenClock(clock, state.lastTimeMs);
    this.#timers = new TimerRelease(86_400_000, {
      state,
      held: this.held,
      time,
      clock,
      logger: quiet,
    });
    this.transactions = new Transactions(
      { firstMs: 6000, pauseMaxMs: 300_000, max: 15, openMaxMs: 86_400_000 },
      { stateLog, held: this.held, time, clock, logger: quiet },
    );
    this.#appender = new FrameAppender({
      stateLog,
      catalog: this.topics,
      gate: { askedBy: () => 'local', refusal: () => guard.refusal() },
      clock,
      timers: this.#timers,
      transactions: this.transactions,
    });
    log.observe({ advanced: () => stateLog.advanced(), failed });
    this.#timers.start();
    this.transactions.start();
  }

  /** Opens a core on the files of a disk. */
  static async open(
    disk: MemoryDisk,
    clock: ManualClock,
    store: StateStore = openMemoryStore(),
  ): Promise<CoreRig> {
    const opened = await openState(
      { ...LOG_DEFAULTS, folder: '/data', segmentBytes: 1 << 20, slabs: 2 },
      { disk, clock, logger: quiet, openStore: () => store },
    );
    const guard = await DiskGuard.create('/data', { disk, clock, log: opened.log, logger: quiet });
    const rig = new CoreRig(opened, guard, clock);
    await rig.settled();
    return rig;
  }

  /** The store that it runs on. */
  get store(): StateStore {
    return this.#opened.store;
  }

  /** Resolves when everything that was asked for is durable and what follows from it is done. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { log } = this.stateLog;
    await log.durableAt(log.next);
  }

  /** Takes a SendRequest; returns the queue and offset of its first message. Throws its refusal as an Error. */
  async send(
    request: MessageInitShape<typeof SendRequestSchema>,
  ): Promise<{ queueId: number; offset: number }> {
    const bytes = Buffer.from(toBinary(SendRequestSchema, create(SendRequestSchema, request)));
    const refusal = this.#appender.append(bytes, NO_HOST);
    if (refusal !== undefined) throw new Error(`${refusal.reason}: ${refusal.message}`);
    const { baseOffset: offset, queue } = this.#appender;
    await this.settled();
    return { queueId: queue?.queueId ?? 0, offset };
  }

  /** Brings what has changed to the store. */
  async write(): Promise<void> {
    await this.#writer.write();
  }

  /** Stops as a killed process does. */
  async kill(): Promise<void> {
    this.#writer.abandon();
    this.delivery.close();
    await this.#timers.close();
    await this.transactions.close();
    this.#guard.close();
    await this.#opened.log.close();
  }
}

/** Files for a core. */
export function coreDisk(): MemoryDisk {
  return new MemoryDisk();
}
