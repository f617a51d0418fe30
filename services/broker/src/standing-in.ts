// A slave that serves consumers in the place of its master, which is gone: what it delivers is what the master had confirmed,
// and what they settle is kept in a fork (replication/fork.ts) until the master is back.
//
// Groups go on from where they were. New groups, new members that broadcast, and everything else that changes the log wait for
// the master; so do messages that have failed too often, instead of moving to the dead letters, and messages that are damaged
// here, with all behind them in their queue.

import { create } from '@bufbuild/protobuf';
import { SettledOutcome, SettledSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { Handlers, Logger, TernError } from '@ternmq/runtime';
import { GroupCatalog } from './catalog/group-catalog.ts';
import { TopicCatalog } from './catalog/topic-catalog.ts';
import { Collector } from './delivery/collect.ts';
import { Delivery } from './delivery/delivery.ts';
import { LagTimes } from './delivery/lag-times.ts';
import { MatchingLags } from './delivery/matching-lag.ts';
import { OffsetFinder } from './delivery/offsets.ts';
import { settledRange } from './delivery/settlement.ts';
import { consumerHandlers } from './grpc/service.ts';
import type { SubscribeStream } from './grpc/subscribe.ts';
import type { LogOptions } from './log/log-options.ts';
import { STOPPED_MS } from './progress/retry-table.ts';
import type { UnsettledRange } from './progress/unsettled-range.ts';
import { Fork, type ForkModules } from './replication/fork.ts';
import type { Replica } from './replication/replica.ts';
import type { SettledAside } from './replication/settled-aside.ts';
import type { Group, TopicProgress } from './state/groups.ts';
import type { StateLog } from './state/state-log.ts';
import type { Topic } from './state/topics.ts';

/** What a slave that stands in uses. */
export interface StandInModules extends ForkModules {
  readonly logger: Logger;
  /** What the master does not have yet of what was settled here, now or in earlier times. */
  readonly aside: SettledAside;
  /** Why something waits for the master. */
  readonly refusal: () => TernError;
}

/** The groups that there are. */
class KnownGroups extends GroupCatalog {
  readonly #stateLog: StateLog;
  readonly #refusal: () => TernError;

  constructor(stateLog: StateLog, refusal: () => TernError) {
    super({ autoCreateGroups: false }, { stateLog });
    this.#stateLog = stateLog;
    this.#refusal = refusal;
  }

  override get(name: string): Group {
    const group = this.#stateLog.state.groups.find(name);
    if (group === undefined) throw this.#refusal();
    return group;
  }

  override getOrCreate(name: string, ordered?: boolean): Group {
    this.get(name);
    return super.getOrCreate(name, ordered);
  }
}

/** Delivers to groups that have begun to read. */
class StandInDelivery extends Delivery {
  readonly #stateLog: StateLog;
  readonly #refusal: () => TernError;

  constructor(modules: ConstructorParameters<typeof Delivery>[0], refusal: () => TernError) {
    super(modules);
    this.#stateLog = modules.stateLog;
    this.#refusal = refusal;
  }

  override async begin(group: Group, topic: Topic, member: string): Promise<TopicProgress> {
    const progress = this.#stateLog.state.groups.progressIn(group, topic.id, member);
    if (progress === undefined) throw this.#refusal();
    return progress;
  }
}

/** Serves consumers on a fork. */
export class StandIn {
  /** What it serves besides reads. */
  readonly handlers: Handlers;
  readonly #fork: Fork;
  readonly #delivery: Delivery;
  readonly #streams: ReadonlyMap<string, SubscribeStream>;
  readonly #aside: SettledAside;

  private constructor(fork: Fork, { clock, logger: parent, refusal, aside }: StandInModules) {
    const logger = parent.child({ part: 'delivery' });
    const { log, state, stateLog } = fork;
    const topics = new TopicCatalog(
      { autoCreateTopics: false, queuesDefault: 1 },
      { stateLog, changed() {} },
    );
    const groups = new KnownGroups(stateLog, refusal);
    const collector = new Collector({ log, state, logger, keepsDamaged: true });
    const offsets = new OffsetFinder({ log, state });
    const deadLetters = {
      async move(
        _group: Group,
        _topic: Topic,
        progress: TopicProgress,
        queueId: number,
        range: UnsettledRange,
      ): Promise<void> {
        keepForMaster(stateLog, progress, queueId, range);
      },
    };
    const delivery = new StandInDelivery(
      { stateLog, topics, groups, offsets, collector, deadLetters, clock, logger },
      refusal,
    );
    const lagTimes = new LagTimes({ stateLog, offsets, clock });
    const matchingLag = new MatchingLags({ log, state, collector, clock });
    const { handlers, streams } = consumerHandlers({
      topics,
      groups,
      delivery,
      offsets,
      lagTimes,
      matchingLag,
      state,
      log,
      clock,
      logger,
    });
    this.handlers = handlers;
    this.#fork = fork;
    this.#aside = aside;
    this.#delivery = delivery;
    this.#streams = streams;
  }

  /**
   * Begins where the groups are, with what was settled here before. Throws as Fork.open.
   *
   * @param options of the slave's log
   */
  static async open(
    options: LogOptions,
    slave: Replica,
    modules: StandInModules,
  ): Promise<StandIn> {
    const fork = await Fork.open(options, slave, modules);
    await fork.merge(modules.aside.list);
    return new StandIn(fork, modules);
  }

  /** Ends what consumers have open, and keeps what they have settled for the master. */
  async end(reason: Error): Promise<void> {
    for (const stream of this.#streams.values()) stream.fail(reason);
    this.#delivery.close();
    await this.#fork.end(this.#aside);
  }
}

/** Messages have failed too often, or a consumer gave them up: they are not delivered again here. */
function keepForMaster(
  stateLog: StateLog,
  progress: TopicProgress,
  queueId: number,
  range: UnsettledRange,
): void {
  const kept = settledRange(progress, queueId, range, SettledOutcome.RETRY, STOPPED_MS);
  stateLog.change({ case: 'settled', value: create(SettledSchema, { ranges: [kept] }) });
}
