// A broker that leads its group: everything that serves producers and consumers, on a log that it appends to. Reading
// `open` from top to bottom is reading how the parts depend on each other; `close` is the same list backwards.

import type { MergeProgressRequest } from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import type { Clock, Handlers, Logger, Random, Registry } from '@ternmq/runtime';
import { Assignments } from './assignment/assignments.ts';
import { GroupCatalog } from './catalog/group-catalog.ts';
import { TopicCatalog } from './catalog/topic-catalog.ts';
import type { BrokerOptions } from './config.ts';
import { Collector } from './delivery/collect.ts';
import { DeadLetterResend } from './delivery/dead-letter-resend.ts';
import { DeadLetters } from './delivery/dead-letters.ts';
import { Delivery } from './delivery/delivery.ts';
import { LagTimes } from './delivery/lag-times.ts';
import { MatchingLags } from './delivery/matching-lag.ts';
import { OffsetFinder } from './delivery/offsets.ts';
import { Puller } from './delivery/pull.ts';
import type { DiskGuard } from './disk-guard.ts';
import { MessageSearch } from './find/message-search.ts';
import { Tracer } from './find/tracer.ts';
import { Acknowledgements } from './grpc/acknowledgements.ts';
import { FrameAppender } from './grpc/append-frame.ts';
import type { BrokerIdentity } from './grpc/describe-broker.ts';
import { ProduceStreams } from './grpc/produce.ts';
import { brokerService } from './grpc/service.ts';
import type { SubscribeStream } from './grpc/subscribe.ts';
import { EvenClock } from './held/even-clock.ts';
import { HeldRelease } from './held/held-release.ts';
import { MemberExpiry } from './member-expiry.ts';
import { registerBrokerMetrics } from './metrics.ts';
import { ProducerExpiry } from './producer-expiry.ts';
import type { Replica } from './replication/replica.ts';
import type { Replicas } from './replication/replicas.ts';
import { SlaveReports } from './replication/slave-reports.ts';
import { ReplyInboxes } from './replies/reply-inboxes.ts';
import { Retention } from './retention.ts';
import type { TopicProgress } from './state/groups.ts';
import { clipSettled } from './state/settled-elsewhere.ts';
import type { StateLog } from './state/state-log.ts';
import type { Topic } from './state/topics.ts';
import { isHoldingTopic } from './state/topics.ts';
import { TimerRelease } from './timers/timer-release.ts';
import { Transactions } from './transactions/transactions.ts';

/** What a broker that leads stands on. */
export interface LeadingModules {
  readonly replica: Replica;
  readonly replicas: Replicas;
  readonly guard: DiskGuard;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly identity: BrokerIdentity;
  /** Told of topics that are new, have changed, or are gone. */
  readonly topicChanged: (topic: Topic, deleted: boolean) => void;
}

/** What serves clients while a broker leads. */
export class Leading {
  readonly handlers: Handlers;
  readonly replicas: Replicas;
  readonly #reports: SlaveReports;
  readonly #stateLog: StateLog;
  readonly #delivery: Delivery;
  readonly #acknowledgements: Acknowledgements;
  readonly #produce: ProduceStreams;
  readonly #streams: ReadonlyMap<string, SubscribeStream>;
  readonly #closing: AbortController;
  readonly #closers: readonly (() => Promise<void> | void)[];

  private constructor(parts: {
    handlers: Handlers;
    replicas: Replicas;
    reports: SlaveReports;
    stateLog: StateLog;
    delivery: Delivery;
    acknowledgements: Acknowledgements;
    produce: ProduceStreams;
    streams: ReadonlyMap<string, SubscribeStream>;
    closing: AbortController;
    closers: readonly (() => Promise<void> | void)[];
  }) {
    this.handlers = parts.handlers;
    this.replicas = parts.replicas;
    this.#reports = parts.reports;
    this.#stateLog = parts.stateLog;
    this.#delivery = parts.delivery;
    this.#acknowledgements = parts.acknowledgements;
    this.#produce = parts.produce;
    this.#streams = parts.streams;
    this.#closing = parts.closing;
    this.#closers = parts.closers;
  }

  /** Builds everything, and lets time pass for what waits. */
  static open(options: BrokerOptions, modules: LeadingModules): Leading {
    const { replica, replicas, guard, clock, random, logger } = modules;
    const { log, state, store, stateLog, writer } = replica;
    const part = (name: string): Logger => logger.child({ part: name });
    const closers: (() => Promise<void> | void)[] = [];
    const closing = new AbortController();
    const topicChanged = (topic: Topic, deleted: boolean): void => {
      if (isHoldingTopic(topic.name)) return;
      delivery.topicChanged(topic, deleted);
      assignments.topicChanged(topic, deleted);
      modules.topicChanged(topic, deleted);
    };
    const topics = new TopicCatalog(
      { autoCreateTopics: options.autoCreateTopics, queuesDefault: options.queues },
      { stateLog, changed: (topic, deleted) => topicChanged(topic, deleted) },
    );
    const groups = new GroupCatalog({ autoCreateGroups: options.autoCreateGroups }, { stateLog });

    const collector = new Collector({ log, state, logger: part('delivery') });
    const offsets = new OffsetFinder({ log, state });
    const lagTimes = new LagTimes({ stateLog, offsets, clock });
    const matchingLag = new MatchingLags({ log, state, collector, clock });
    const search = new MessageSearch({
      state,
      collector,
      offsets,
      clock,
      logger: part('find'),
    });
    const tracer = new Tracer({ log, state, clock });
    const puller = new Puller({
      log,
      state,
      collector,
      clock,
      place: ({ topicId, queueId }, behindBytes) => {
        const far = options.pullFromSlaveBytes;
        return far > 0 && behindBytes > far ? replicas.readableAt(topicId + queueId) : undefined;
      },
    });
    const deadLetters = new DeadLetters({
      stateLog,
      catalog: topics,
      collector,
      logger: part('delivery'),
    });
    const letters = new DeadLetterResend({ stateLog, catalog: topics, collector });
    const standIns = options.election === 'fixed' && options.standInAfter > 0;
    const reports = new SlaveReports(
      standIns ? replicas.inSync.filter((id) => id !== options.id) : [],
      clock,
    );
    closers.push(() => reports.close());
    const delivery = new Delivery({
      stateLog,
      topics,
      groups,
      offsets,
      collector,
      deadLetters,
      ready: reports.all,
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
    const acknowledgements = new Acknowledgements(options.acknowledge, { log, replicas, guard });
    closers.push(() => acknowledgements.close(closing.signal.reason as Error));
    const appender = new FrameAppender({
      stateLog,
      catalog: topics,
      gate: acknowledgements,
      clock,
      timers,
      transactions,
    });
    const produce = new ProduceStreams({ log, acknowledgements, appender, clock });
    retention.start();
    timers.start();
    transactions.start();

    const assignments = new Assignments(options.name, { clock });

    const { handlers, streams } = brokerService(options.name, {
      stateLog,
      heldRelease,
      transactions,
      letters,
      lagTimes,
      matchingLag,
      topics,
      groups,
      delivery,
      assignments,
      offsets,
      search,
      tracer,
      puller,
      collector,
      acknowledgements,
      appender,
      inboxes,
      produce,
      state,
      log,
      writer,
      guard,
      clock,
      random,
      logger: part('grpc'),
      identity: modules.identity,
      closing: closing.signal,
    });
    const registry = modules.registry.part();
    registerBrokerMetrics(registry, {
      replicas,
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

    const unmount = modules.registry.mount(registry);
    closers.push(unmount);
    return new Leading({
      handlers,
      replicas,
      reports,
      stateLog,
      delivery,
      acknowledgements,
      produce,
      streams,
      closing,
      closers: closers.reverse(),
    });
  }

  /** More of the log is written. */
  wrote(): void {
    this.#produce.wrote();
    this.#acknowledgements.advanced();
  }

  /** More of the log is visible, durable, or at the slaves. */
  advanced(): void {
    this.#produce.advanced();
    this.#acknowledgements.advanced();
  }

  /**
   * Groups have settled messages at a slave, before this broker began to lead. Progress that was set since stays as it is.
   * Resolves when it is durable.
   */
  async merge({ id, queues, complete }: MergeProgressRequest): Promise<void> {
    const { state, log } = this.#stateLog;
    for (const value of clipSettled(queues, state)) {
      const progress = state.groups.findProgress(value.progressId) as TopicProgress;
      if (this.#delivery.wasSet.has(progress)) continue;
      this.#stateLog.change({ case: 'progressMerged', value });
      this.#delivery.changed(progress, [value.queueId]);
    }
    if (complete) this.#reports.heard(id);
    // Here alone: a slave that is waited for may be gone, and this master leads for ever.
    await log.durableAt(log.next);
  }

  /** Ends what clients have open; resolves when frames in flight are answered, or after the grace. */
  async end(reason: Error, graceMs: number): Promise<void> {
    this.#closing.abort(reason);
    for (const stream of this.#streams.values()) stream.fail(reason);
    await this.#produce.stop(graceMs, reason);
  }

  /** Takes everything apart. */
  async close(): Promise<void> {
    for (const close of this.#closers) await close();
  }
}
