// Builds a broker and takes it apart again. Reading `open` from top to bottom is reading how its parts depend
// on each other; `close` is the same list backwards.

import type { TopicQueues } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import {
  type Clock,
  type Disk,
  type DiskLock,
  formatAddress,
  GrpcServer,
  type Logger,
  type Random,
  Registry,
} from '@ternmq/runtime';
import { Assignments } from './assignment/assignments.ts';
import { GroupCatalog } from './catalog/group-catalog.ts';
import { TopicCatalog } from './catalog/topic-catalog.ts';
import { type BrokerOptions, SEGMENT_BYTES_MIN } from './config.ts';
import { Collector } from './delivery/collect.ts';
import { DeadLetterResend } from './delivery/dead-letter-resend.ts';
import { DeadLetters } from './delivery/dead-letters.ts';
import { Delivery } from './delivery/delivery.ts';
import { LagTimes } from './delivery/lag-times.ts';
import { OffsetFinder } from './delivery/offsets.ts';
import { Puller } from './delivery/pull.ts';
import { DiskGuard } from './disk-guard.ts';
import { MessageSearch } from './find/message-search.ts';
import { Tracer } from './find/tracer.ts';
import { FrameAppender } from './grpc/append-frame.ts';
import { ProduceStreams } from './grpc/produce.ts';
import { addBrokerService } from './grpc/service.ts';
import type { SubscribeStream } from './grpc/subscribe.ts';
import { EvenClock } from './held/even-clock.ts';
import { HeldRelease } from './held/held-release.ts';
import { LOG_DEFAULTS } from './log/log-options.ts';
import { MemberExpiry } from './member-expiry.ts';
import { registerBrokerMetrics } from './metrics.ts';
import { ProducerExpiry } from './producer-expiry.ts';
import { Registration } from './registration.ts';
import { ReplyInboxes } from './replies/reply-inboxes.ts';
import { Retention } from './retention.ts';
import { openDataFolder } from './state/data-folder.ts';
import { openLmdbStore } from './state/lmdb-store.ts';
import { type OpenedState, openState } from './state/open-state.ts';
import { StateLog } from './state/state-log.ts';
import { StateWriter } from './state/state-writer.ts';
import type { StateStore } from './state/store.ts';
import { isHoldingTopic, type Topic } from './state/topics.ts';
import { TimerRelease } from './timers/timer-release.ts';
import { Transactions } from './transactions/transactions.ts';

/** What a broker stands on. */
export interface BrokerModules {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  readonly logger: Logger;
  /** Product version, for people. */
  readonly version: string;
  /** Called when the broker can no longer keep its promises: the process must end at once. */
  readonly fatal: (error: Error) => void;
  /** Where its metrics are shown. Default: a registry of its own. */
  readonly registry?: Registry;
  /** Opens the state store in a folder. Default: LMDB. */
  readonly openStore?: (folder: string) => StateStore;
}

const STOP_GRACE_MS = 5000;

function queuesOf(topic: Topic): TopicQueues {
  return {
    $typeName: 'ternmq.nameserver.v1.TopicQueues',
    topic: topic.name,
    queues: topic.queues.length,
    readable: true,
    writable: !topic.name.startsWith('%'),
  };
}

/** A running broker. */
export class Broker {
  /** What it measures. */
  readonly registry: Registry;
  /** The port that it listens on. */
  readonly port: number;
  /** Where clients reach it. */
  readonly address: string;
  readonly #closers: readonly (() => Promise<void> | void)[];
  readonly #registration: Registration;
  readonly #guard: DiskGuard;
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    registry: Registry;
    port: number;
    address: string;
    closers: readonly (() => Promise<void> | void)[];
    registration: Registration;
    guard: DiskGuard;
  }) {
    this.registry = parts.registry;
    this.port = parts.port;
    this.address = parts.address;
    this.#closers = parts.closers;
    this.#registration = parts.registration;
    this.#guard = parts.guard;
  }

  /**
   * Opens a broker: takes the data folder, recovers, listens, and registers with the name servers.
   * Throws FAILED_PRECONDITION (DATA_FOLDER_IN_USE, DATA_FORMAT_UNKNOWN, PORT_IN_USE), DATA_LOSS (STATE_LOST).
   */
  static async open(options: BrokerOptions, modules: BrokerModules): Promise<Broker> {
    const { clock, disk, random, version, fatal } = modules;
    const logger = modules.logger.child({ broker: options.name });
    const part = (name: string): Logger => logger.child({ part: name });
    const closers: (() => Promise<void> | void)[] = [];
    try {
      const startMs = clock.monotonicMs();
      const lock: DiskLock = openDataFolder(options.data, disk);
      closers.push(() => lock.release());

      const opened = await openState(
        {
          ...LOG_DEFAULTS,
          folder: options.data,
          segmentBytes: await segmentBytes(options, disk),
          flushMode: options.flush,
          flushIntervalMs: options.flushInterval,
        },
        { disk, clock, logger: part('log'), openStore: modules.openStore ?? openLmdbStore },
      );
      const { log, state, store } = opened;
      closers.push(() => store.close());
      closers.push(() => log.close());
      tellRecovery(opened, part('log'), clock.monotonicMs() - startMs);

      const stateLog = new StateLog(log, state, clock);
      const writer = new StateWriter(opened.storePosition, { log, state, store, clock }, fatal);
      closers.push(() => writer.close());

      const guard = await DiskGuard.create(options.data, {
        disk,
        clock,
        log,
        logger: part('disk'),
      });
      closers.push(() => guard.close());

      let topicChanged: (topic: Topic, deleted: boolean) => void = () => {};
      const topics = new TopicCatalog(
        { autoCreateTopics: options.autoCreateTopics, queuesDefault: options.queues },
        { stateLog, changed: (topic, deleted) => topicChanged(topic, deleted) },
      );
      const groups = new GroupCatalog({ autoCreateGroups: options.autoCreateGroups }, { stateLog });

      const collector = new Collector({ log, state, logger: part('delivery') });
      const offsets = new OffsetFinder({ log, state });
      const lagTimes = new LagTimes({ stateLog, offsets, clock });
      const search = new MessageSearch({
        state,
        collector,
        offsets,
        clock,
        logger: part('find'),
      });
      const tracer = new Tracer({ log, state, clock });
      const puller = new Puller({ log, state, collector, clock });
      const deadLetters = new DeadLetters({
        stateLog,
        catalog: topics,
        collector,
        logger: part('delivery'),
      });
      const letters = new DeadLetterResend({ stateLog, catalog: topics, collector });
      const delivery = new Delivery({
        stateLog,
        topics,
        groups,
        offsets,
        collector,
        deadLetters,
        clock,
        logger: part('delivery'),
      });
      closers.push(() => delivery.close());

      const retention = new Retention(
        {
          retentionMs: options.retention,
          retentionBytes: options.retentionBytes ?? Number.POSITIVE_INFINITY,
          intervalMs: options.retentionInterval,
        },
        { stateLog, store, writer, offsets, guard, clock, logger: part('retention') },
      );
      closers.push(() => retention.close());

      const heldRelease = new HeldRelease({ stateLog, collector, logger: part('held') });
      const time = new EvenClock(clock, state.lastTimeMs);
      const timers = new TimerRelease(options.delayMax, {
        state,
        held: heldRelease,
        time,
        clock,
        logger: part('timers'),
      });
      closers.push(() => timers.close());
      const transactions = new Transactions(
        {
          firstMs: options.transactionFirstCheck,
          pauseMaxMs: options.transactionCheckPauseMax,
          max: options.transactionChecks,
          openMaxMs: options.transactionMax,
        },
        { stateLog, held: heldRelease, time, clock, logger: part('transactions') },
      );
      closers.push(() => transactions.close());

      const producerExpiry = new ProducerExpiry({ stateLog, clock, logger: part('log') });
      closers.push(() => producerExpiry.close());
      const memberExpiry = new MemberExpiry(
        { expiryMs: options.memberExpiry, retentionMs: options.retention },
        { stateLog, delivery, clock, logger: part('delivery') },
      );
      closers.push(() => memberExpiry.close());

      const inboxes = new ReplyInboxes(options.name, { clock, random });
      const appender = new FrameAppender({
        stateLog,
        catalog: topics,
        guard,
        clock,
        timers,
        transactions,
      });
      const produce = new ProduceStreams({ log, appender, clock });
      log.observe({
        advanced() {
          stateLog.advanced();
          produce.advanced();
        },
        failed(error) {
          writer.abandon();
          fatal(error);
        },
      });
      writer.start();
      retention.start();
      timers.start();
      transactions.start();

      const assignments = new Assignments(options.name, { clock });

      const registry = modules.registry ?? new Registry();
      const server = new GrpcServer();
      const streams: ReadonlyMap<string, SubscribeStream> = addBrokerService(server, options.name, {
        stateLog,
        heldRelease,
        transactions,
        letters,
        lagTimes,
        topics,
        groups,
        delivery,
        assignments,
        offsets,
        search,
        tracer,
        puller,
        collector,
        appender,
        inboxes,
        produce,
        state,
        log,
        writer,
        guard,
        clock,
        logger: part('grpc'),
        identity: {
          name: options.name,
          id: options.id,
          version,
          flushMode: options.flush,
          uptimeMs: () => clock.monotonicMs() - startMs,
          corruptRanges: () => opened.recovery.corrupt.length,
        },
      });
      closers.push(async () => {
        const stopped = server.stop(STOP_GRACE_MS);
        for (const stream of streams.values()) stream.fail(server.closing.reason);
        await produce.stop(STOP_GRACE_MS);
        await stopped;
      });
      const port = await server.listen(options.host, options.brokerPort);
      registerBrokerMetrics(registry, {
        options,
        state,
        log,
        writer,
        guard,
        delivery,
        deadLetters,
        lagTimes,
        produce,
        streams,
        timers,
      });

      const address = formatAddress(options.advertise ?? options.host, port);
      const registration = new Registration(
        {
          addresses: options.nameserver,
          broker: {
            name: options.name,
            id: options.id,
            address,
            epoch: BigInt(log.epoch),
            cluster: options.cluster,
            version,
          },
          topics: () =>
            [...state.topics.all()].filter(({ name }) => !isHoldingTopic(name)).map(queuesOf),
        },
        { clock, random, logger: part('registration') },
      );
      closers.push(() => registration.leave());
      topicChanged = (topic, deleted) => {
        if (isHoldingTopic(topic.name)) return;
        delivery.topicChanged(topic, deleted);
        assignments.topicChanged(topic, deleted);
        registration.topicsChanged(deleted ? [] : [queuesOf(topic)], deleted ? [topic.name] : []);
      };
      server.setServing(true);
      return new Broker({
        registry,
        port,
        address,
        closers: closers.reverse(),
        registration,
        guard,
      });
    } catch (error) {
      for (const close of closers.reverse()) {
        try {
          await close();
        } catch {
          // What failed first is what counts.
        }
      }
      throw error;
    }
  }

  /** Why clients cannot send now, one sentence each; empty when they can. */
  notReady(): string[] {
    const reasons: string[] = [];
    if (this.#closed !== undefined) reasons.push('the broker is stopping');
    if (!this.#registration.registered)
      reasons.push('the broker is registered with no name server');
    if (this.#guard.refusing) reasons.push('the disk is almost full');
    return reasons;
  }

  /** Stops: answers what is in flight, makes everything durable, leaves the name servers. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      for (const close of this.#closers) await close();
    })();
    return this.#closed;
  }
}

/** The size of segments: as asked for, but a disk holds at least 16 of them, so that old ones can go. */
async function segmentBytes(options: BrokerOptions, disk: Disk): Promise<number> {
  const { totalBytes } = await disk.space(options.data);
  const share = 2 ** Math.floor(Math.log2(totalBytes / 16));
  return Math.min(options.segmentSize, Math.max(SEGMENT_BYTES_MIN, share));
}

function tellRecovery({ recovery, rebuilt }: OpenedState, logger: Logger, tookMs: number): void {
  const { from, end, tornBytes, corrupt } = recovery;
  const facts = { from, end, rebuilt, ms: Math.round(tookMs) };
  if (tornBytes > 0) {
    logger.warn(
      { ...facts, tornBytes },
      'cut a torn tail off the log: bytes that were never durable',
    );
  }
  for (const range of corrupt) {
    logger.error(
      range,
      "a range of the log is damaged; its messages are lost here: run 'tern log verify' and restore it from a replica",
    );
  }
  logger.info(facts, 'the log is open');
}
