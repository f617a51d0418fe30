// The delivery core: one for all ways to consume. Subscriptions begin and end here, settlements are checked and
// written here, and what the clock decides (a lease has ended, a retry is due, a broken stream's grace is over)
// becomes a record here.

import { create } from '@bufbuild/protobuf';
import {
  SettledOutcome,
  type SettledRange,
  SettledSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { OffsetTarget } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, type Logger, TernError, type Timer } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import { RetryPolicy } from '../catalog/retry-policy.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import { HELD_MS, STOPPED_MS } from '../progress/retry-table.ts';
import type { UnsettledRange } from '../progress/unsettled-range.ts';
import { type Group, queueProgress, type TopicProgress } from '../state/groups.ts';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';
import type { Topic } from '../state/topics.ts';
import type { Collector } from './collect.ts';
import type { Consumer } from './consumer.ts';
import type { DeadLetters } from './dead-letters.ts';
import type { MessageFilter } from './message-filter.ts';
import type { OffsetFinder, SetOffset } from './offsets.ts';
import { orderedFailure } from './ordered-failure.ts';
import { rememberWanted } from './remember-wanted.ts';
import { restoredStreams } from './restored-streams.ts';
import {
  REFUSALS,
  type SettlementChoice,
  type SettlementRefusal,
  settledRange,
} from './settlement.ts';
import { type StartModules, startProgress } from './start-progress.ts';
import { TopicDelivery } from './topic-delivery.ts';

/** How often the clock's decisions are looked for. */
const TICK_MS = 100;
/** How long a broken stream's leases are kept for the work that may still go on. */
const GRACE_MS = 5000;

/** Delivers messages to consumer groups. */
export class Delivery {
  readonly #stateLog: StateLog;
  readonly #starting: StartModules;
  readonly #collector: Collector;
  readonly #deadLetters: Pick<DeadLetters, 'move'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #deliveries = new Map<number, TopicDelivery>();
  /** Queues with leases or retries, by progress: what the clock may have something to say about. */
  readonly #watched = new Map<TopicProgress, Set<number>>();
  /** Graces of broken streams, by group and consumer. */
  readonly #graces = new Map<string, Timer>();
  /** Progress of broadcasting members that were connected since `forgetConnections`. */
  readonly #connected = new Set<TopicProgress>();
  readonly #ready: Promise<void>;
  /** Progress that somebody has set. */
  readonly wasSet = new WeakSet<TopicProgress>();
  readonly #timer: Timer;

  constructor(modules: {
    stateLog: StateLog;
    topics: TopicCatalog;
    groups: GroupCatalog;
    offsets: OffsetFinder;
    collector: Collector;
    deadLetters: Pick<DeadLetters, 'move'>;
    /** Nobody begins to read before. Default: at once. */
    ready?: Promise<void>;
    clock: Clock;
    logger: Logger;
  }) {
    this.#stateLog = modules.stateLog;
    this.#starting = modules;
    this.#collector = modules.collector;
    this.#deadLetters = modules.deadLetters;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
    this.#ready = modules.ready ?? Promise.resolve();
    this.#watchRestored();
    this.#timer = this.#clock.every(TICK_MS, () => this.#tick());
  }

  /** All streams were broken by the restart: their leases get the grace of a broken stream. */
  #watchRestored(): void {
    const { groups } = this.#stateLog.state;
    for (const group of groups.all()) {
      const restored = restoredStreams(group, (progress, queueId) =>
        this.#watch(progress, queueId),
      );
      for (const [consumerId, progress] of restored) {
        this.streamEnded(group, consumerId, progress, false);
      }
    }
  }

  #isConnected(progress: TopicProgress, consumerId: string): boolean {
    const consumers = this.#deliveries.get(progress.id)?.consumers ?? [];
    return [...consumers].some((consumer) => consumer.id === consumerId);
  }

  /** Is, or was, a broadcasting member connected since `forgetConnections`? */
  wasConnected(progress: TopicProgress): boolean {
    return this.#connected.has(progress) || this.isAttached(progress);
  }

  /** Is a consumer attached to a progress now? */
  isAttached(progress: TopicProgress): boolean {
    return this.#deliveries.has(progress.id);
  }

  /** `wasConnected` tells of the time from now on. */
  forgetConnections(): void {
    this.#connected.clear();
  }

  /** The consumers that are attached to a group's topics now. */
  consumersOf(group: Group): Set<Consumer> {
    const consumers = new Set<Consumer>();
    for (const progress of group.progress.values()) {
      for (const consumer of this.#deliveries.get(progress.id)?.consumers ?? []) {
        consumers.add(consumer);
      }
    }
    return consumers;
  }

  /**
   * The progress of a group, or of a broadcasting member, in a topic; started when there is none.
   * Throws RESOURCE_EXHAUSTED (TOO_MANY_MEMBERS).
   *
   * @param member the broadcasting member; empty for the group itself
   * @param from where a new progress starts; at the end when absent
   */
  async begin(
    group: Group,
    topic: Topic,
    member: string,
    from: OffsetTarget['target'] | undefined,
  ): Promise<TopicProgress> {
    await this.#ready;
    const known = this.#stateLog.state.groups.progressIn(group, topic.id, member);
    if (known !== undefined && member !== '') this.#connected.add(known);
    return known ?? startProgress({ group, topic, member, from }, this.#starting);
  }

  /**
   * Attaches a consumer to a topic. Throws FAILED_PRECONDITION (SUBSCRIPTION_MISMATCH) when other members of
   * the group filter the topic differently, and UNAVAILABLE (NOT_READY) when the progress was ended meanwhile.
   */
  attach(progress: TopicProgress, topic: Topic, filter: MessageFilter, consumer: Consumer): void {
    if (progress.deleted) {
      throw new TernError(
        'UNAVAILABLE',
        'NOT_READY',
        'what the consumer reads was deleted while it subscribed; subscribe again',
      );
    }
    let delivery = this.#deliveries.get(progress.id);
    if (delivery !== undefined && delivery.filter.canonical !== filter.canonical) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'SUBSCRIPTION_MISMATCH',
        `other members of the group subscribe to ${topic.name} with '${delivery.filter.canonical}', ` +
          `and this one with '${filter.canonical}'; all members must subscribe alike`,
      );
    }
    if (delivery === undefined) {
      const modules = {
        stateLog: this.#stateLog,
        collector: this.#collector,
        clock: this.#clock,
        logger: this.#logger,
      };
      const group = this.#stateLog.state.groups.findById(progress.groupId);
      const ordered = group !== undefined && isOrdered(group, progress);
      delivery = new TopicDelivery({ topic, progress, filter, ordered }, modules);
      this.#deliveries.set(progress.id, delivery);
    }
    rememberWanted(this.#stateLog, progress, filter);
    delivery.attach(consumer);
    this.#watchAll(progress);
  }

  /** Detaches a consumer from a topic; its leases stay. */
  detach(progress: TopicProgress, consumer: Consumer): void {
    const delivery = this.#deliveries.get(progress.id);
    if (delivery === undefined) return;
    delivery.detach(consumer);
    this.#watchAll(progress);
    if (delivery.consumers.size > 0) return;
    delivery.close();
    this.#deliveries.delete(progress.id);
  }

  /** Resolves when what is there to deliver of a progress has been read from the disk. */
  async loaded(progress: TopicProgress): Promise<void> {
    await this.#deliveries.get(progress.id)?.loaded();
  }

  /** A consumer can take more: it granted credit, or its connection is free again. */
  ready(progress: TopicProgress): void {
    this.#deliveries.get(progress.id)?.pump();
    this.#watchAll(progress);
  }

  /** A consumer's stream has ended: cleanly, and its leases are free at once, or broken, and after the grace. */
  streamEnded(
    group: Group,
    consumerId: string,
    progress: readonly TopicProgress[],
    clean: boolean,
  ): void {
    const free = (): void => {
      this.#graces.delete(`${group.id} ${consumerId}`);
      for (const one of progress) {
        if (!one.deleted && !this.#isConnected(one, consumerId)) {
          this.#free(one, consumerId, clean ? 'giveBack' : 'retry');
        }
      }
    };
    if (clean) {
      free();
      return;
    }
    this.#graces.get(`${group.id} ${consumerId}`)?.cancel();
    this.#graces.set(`${group.id} ${consumerId}`, this.#clock.setTimer(GRACE_MS, free));
  }

  /** A topic was created, changed or deleted. */
  topicChanged(topic: Topic, deleted: boolean): void {
    for (const delivery of this.#deliveries.values()) {
      if (delivery.topic !== topic) continue;
      if (!deleted) {
        delivery.watch();
        delivery.pump();
        continue;
      }
      this.#deliveries.delete(delivery.progress.id);
      delivery.close();
      for (const consumer of delivery.consumers) consumer.end('TOPIC_NOT_FOUND');
    }
  }

  /**
   * Sets the progress in queues of a topic; consumers that are connected go on from there.
   *
   * @param generation as in ProgressSet; 0 for a member that pulls
   */
  setOffsets(progress: TopicProgress, offsets: readonly SetOffset[], generation: number): void {
    this.#stateLog.change({
      case: 'progressSet',
      value: {
        $typeName: 'ternmq.log.v1.ProgressSet',
        progressId: progress.id,
        offsets: offsets.map(({ queueId, offset }) => ({
          $typeName: 'ternmq.broker.v1.QueueOffset',
          queueId,
          offset: BigInt(offset),
        })),
        generation: BigInt(generation),
      },
    });
    this.wasSet.add(progress);
    const queueIds = offsets.map(({ queueId }) => queueId);
    this.changed(progress, queueIds);
  }

  /** A record has changed a progress in some queues: consumers that are connected go on from there. */
  changed(progress: TopicProgress, queueIds: Iterable<number>): void {
    const delivery = this.#deliveries.get(progress.id);
    for (const queueId of queueIds) {
      this.#watch(progress, queueId);
      delivery?.changed(queueId);
    }
    delivery?.pump();
  }

  /**
   * Carries settlements out, as one record. Returns why some were not, in their order; undefined for those
   * that were.
   *
   * @param member the broadcasting member; empty for the group itself
   */
  settle(
    group: Group,
    member: string,
    choices: readonly SettlementChoice[],
  ): (SettlementRefusal | undefined)[] {
    const ranges: SettledRange[] = [];
    const touched = new Map<TopicProgress, Set<number>>();
    const policy = new RetryPolicy(group.settings);
    const refusals = choices.map((choice): SettlementRefusal | undefined => {
      const progress = this.#stateLog.state.groups.progressIn(group, choice.topicId, member);
      if (progress === undefined) return REFUSALS.TOPIC_NOT_FOUND;
      const { refusal, settled } = this.#plan(group, progress, choice, policy);
      ranges.push(...settled);
      let queueIds = touched.get(progress);
      if (queueIds === undefined) {
        queueIds = new Set();
        touched.set(progress, queueIds);
      }
      queueIds.add(choice.queueId);
      return refusal;
    });
    this.#write(ranges, touched);
    return refusals;
  }

  #plan(
    group: Group,
    progress: TopicProgress,
    choice: SettlementChoice,
    policy: RetryPolicy,
  ): { refusal: SettlementRefusal | undefined; settled: SettledRange[] } {
    const { queueId, first, end, leaseId, action } = choice;
    const queue = progress.queues[queueId];
    const kind = action === 'deadLetter' ? 'remove' : action;
    const check = queue?.check(first, end, leaseId, kind) ?? 'NOT_DELIVERED';
    if (queue === undefined || check === 'NOT_DELIVERED') {
      return { refusal: REFUSALS.NOT_DELIVERED, settled: [] };
    }
    const refusal = check === 'LEASE_EXPIRED' ? REFUSALS.LEASE_EXPIRED : undefined;
    if (check === 'ALREADY_SETTLED') return { refusal, settled: [] };
    const nowMs = this.#stateLog.timeMs();
    // Acknowledgements and extensions hold for the whole stretch; what is settled in it is left alone.
    if (check === 'ok' && (action === 'acknowledge' || action === 'extend')) {
      const outcome =
        action === 'acknowledge' ? SettledOutcome.ACKNOWLEDGED : SettledOutcome.EXTENDED;
      const whole = { first, end, leaseId, attempt: 0 };
      return {
        refusal,
        settled: [settledRange(progress, queueId, whole, outcome, nowMs + choice.delayMs)],
      };
    }
    const settled: SettledRange[] = [];
    const affected = queue.affectedBy(kind, first, end, leaseId);
    if (isOrdered(group, progress) && (action === 'retry' || action === 'giveBack')) {
      const delayMs = action === 'retry' ? choice.delayMs : 0;
      const how = action === 'retry' ? { delayMs } : 'giveBack';
      return {
        refusal,
        settled: this.#failInOrder(group, progress, queueId, affected, how, policy),
      };
    }
    for (const range of affected) {
      if (action === 'deadLetter') {
        void this.#bury(
          group,
          progress,
          queueId,
          range,
          choice.reason || 'a consumer gave the message up',
        );
      } else if (action === 'retry' && policy.exhausted(range.attempt)) {
        void this.#bury(group, progress, queueId, range, `it failed ${range.attempt} times`);
      } else if (action === 'retry') {
        const atMs = nowMs + (choice.delayMs || policy.delayMs(range.attempt + 1));
        settled.push(settledRange(progress, queueId, range, SettledOutcome.RETRY, atMs));
      } else if (action === 'giveBack') {
        settled.push(settledRange(progress, queueId, range, SettledOutcome.RETURNED, 0));
      } else {
        const outcome =
          action === 'acknowledge' ? SettledOutcome.ACKNOWLEDGED : SettledOutcome.EXTENDED;
        settled.push(settledRange(progress, queueId, range, outcome, nowMs + choice.delayMs));
      }
    }
    return { refusal, settled };
  }

  /** Moves messages to the dead letters, and then delivers what waited for them. */
  async #bury(
    group: Group,
    progress: TopicProgress,
    queueId: number,
    range: UnsettledRange,
    reason: string,
  ): Promise<void> {
    const topic = this.#stateLog.state.topics.findById(progress.topicId);
    if (topic === undefined) return;
    await this.#deadLetters.move(group, topic, progress, queueId, range, reason);
    this.changed(progress, [queueId]);
  }

  /**
   * Messages of an ordered group fail, or are given back: what it says of them.
   *
   * @param how `giveBack`, or after how many milliseconds they come again; 0 for the group's back-off
   */
  #failInOrder(
    group: Group,
    progress: TopicProgress,
    queueId: number,
    failing: readonly UnsettledRange[],
    how: 'giveBack' | { readonly delayMs: number },
    policy: RetryPolicy,
  ): SettledRange[] {
    const { state } = this.#stateLog;
    const queue = state.topics.findById(progress.topicId)?.queues[queueId] as Queue;
    const keyOf = (offset: number): number => state.keyHashOf(queue, offset);
    const { failed, back } = orderedFailure(queueProgress(progress, queueId), failing, keyOf);
    const settled: SettledRange[] = [];
    for (const range of failed) {
      if (how === 'giveBack') {
        // One by one: what has a key waits for it, what has none is free at once.
        for (let offset = range.first; offset < range.end; offset++) {
          const one = { ...range, first: offset, end: offset + 1 };
          const atMs = keyOf(offset) === 0 ? 0 : HELD_MS;
          settled.push(settledRange(progress, queueId, one, SettledOutcome.RETURNED, atMs));
        }
      } else if (!policy.exhausted(range.attempt)) {
        const atMs = this.#stateLog.timeMs() + (how.delayMs || policy.delayMs(range.attempt + 1));
        settled.push(settledRange(progress, queueId, range, SettledOutcome.RETRY, atMs));
      } else if (group.settings.stops) {
        this.#logger.warn(
          { group: group.name, topicId: progress.topicId, queueId, offset: range.first },
          'a message has failed too often; it holds back its ordering key until it is released',
        );
        settled.push(settledRange(progress, queueId, range, SettledOutcome.RETRY, STOPPED_MS));
      } else {
        void this.#bury(group, progress, queueId, range, `it failed ${range.attempt} times`);
      }
    }
    for (const range of back) {
      settled.push(settledRange(progress, queueId, range, SettledOutcome.RETURNED, HELD_MS));
    }
    return settled;
  }

  /**
   * Lets a stopped message go on: it is delivered once more, or moves to the dead-letter topic.
   * Throws NOT_FOUND (NOT_STOPPED), UNAVAILABLE (NOT_MOVED).
   */
  async release(
    group: Group,
    topic: Topic,
    queueId: number,
    offset: number,
    deadLetter: boolean,
  ): Promise<void> {
    const progress = this.#stateLog.state.groups.progressIn(group, topic.id, '');
    const queue = progress?.queues[queueId];
    const stopped = queue?.stopped().find((one) => one.offset === offset);
    if (progress === undefined || stopped === undefined) {
      throw new TernError(
        'NOT_FOUND',
        'NOT_STOPPED',
        `message ${offset} of queue ${queueId} of ${topic.name} holds nothing back in group ${group.name}`,
      );
    }
    const range = { first: offset, end: offset + 1, leaseId: 0, attempt: stopped.attempt };
    if (deadLetter) {
      const reason = 'an operator gave the stopped message up';
      await this.#bury(group, progress, queueId, range, reason);
      if (queue?.waiting(offset)?.dueMs !== STOPPED_MS) return;
      throw new TernError(
        'UNAVAILABLE',
        'NOT_MOVED',
        `message ${offset} of queue ${queueId} of ${topic.name} could not be moved to the dead letters now, the ` +
          "broker's log file says why; try again",
      );
    }
    const atMs = this.#stateLog.timeMs();
    const ranges = [settledRange(progress, queueId, range, SettledOutcome.RESUMED, atMs)];
    this.#write(ranges, new Map([[progress, new Set([queueId])]]));
  }

  #write(ranges: SettledRange[], touched: ReadonlyMap<TopicProgress, Set<number>>): void {
    if (ranges.length === 0) return;
    this.#stateLog.change({ case: 'settled', value: create(SettledSchema, { ranges }) });
    for (const [progress, queueIds] of touched) this.changed(progress, queueIds);
  }

  /** Ends the leases of a consumer whose stream is gone. */
  #free(progress: TopicProgress, consumerId: string, how: 'giveBack' | 'retry'): void {
    const group = this.#stateLog.state.groups.findById(progress.groupId);
    if (group === undefined) return;
    const policy = new RetryPolicy(group.settings);
    const nowMs = this.#stateLog.timeMs();
    const ranges: SettledRange[] = [];
    const queueIds = new Set<number>();
    for (const [queueId, queue] of progress.queues.entries()) {
      const leased = queue?.leasesOf(consumerId, true) ?? [];
      if (leased.length > 0 && isOrdered(group, progress)) {
        const what = how === 'giveBack' ? how : { delayMs: 1 };
        ranges.push(...this.#failInOrder(group, progress, queueId, leased, what, policy));
        queueIds.add(queueId);
        continue;
      }
      for (const range of leased) {
        if (how === 'retry' && policy.exhausted(range.attempt)) {
          const reason = `its consumer broke off, after ${range.attempt} deliveries`;
          void this.#bury(group, progress, queueId, range, reason);
          continue;
        }
        const outcome = how === 'giveBack' ? SettledOutcome.RETURNED : SettledOutcome.RETRY;
        ranges.push(settledRange(progress, queueId, range, outcome, nowMs));
        queueIds.add(queueId);
      }
    }
    this.#writeLater(ranges, new Map([[progress, queueIds]]));
  }

  /** What the clock decides waits for its next turn when the log cannot take it now. */
  #writeLater(ranges: SettledRange[], touched: ReadonlyMap<TopicProgress, Set<number>>): void {
    try {
      this.#write(ranges, touched);
    } catch (error) {
      if (!(error instanceof TernError)) throw error;
    }
  }

  #watch(progress: TopicProgress, queueId: number): void {
    let queueIds = this.#watched.get(progress);
    if (queueIds === undefined) {
      queueIds = new Set();
      this.#watched.set(progress, queueIds);
    }
    queueIds.add(queueId);
  }

  #watchAll(progress: TopicProgress): void {
    for (const [queueId, queue] of progress.queues.entries()) {
      if (queue !== undefined && queue.inFlight > 0) this.#watch(progress, queueId);
    }
  }

  #tick(): void {
    const nowMs = this.#stateLog.timeMs();
    for (const progress of this.#deliveries.values()) this.#watchAll(progress.progress);
    for (const [progress, queueIds] of this.#watched) {
      if (progress.deleted) {
        this.#watched.delete(progress);
        continue;
      }
      let due = false;
      const ended: SettledRange[] = [];
      for (const queueId of queueIds) {
        const queue = queueProgress(progress, queueId);
        if (queue.inFlight + queue.waitingForRetry === 0) queueIds.delete(queueId);
        if (queue.nextDeadline() <= nowMs) {
          for (const streaming of [true, false]) {
            this.#expire(progress, queueId, nowMs, streaming, ended);
          }
        }
        if (queue.nextRetryDue() <= nowMs) {
          this.#deliveries.get(progress.id)?.changed(queueId);
          due = true;
        }
      }
      if (queueIds.size === 0) this.#watched.delete(progress);
      if (ended.length > 0) this.#writeLater(ended, new Map([[progress, new Set(queueIds)]]));
      if (due) this.#deliveries.get(progress.id)?.pump();
    }
  }

  /** Who has no stream has said itself how long its lease lasts: what it left comes again without a further pause. */
  #expire(
    progress: TopicProgress,
    queueId: number,
    nowMs: number,
    streaming: boolean,
    ended: SettledRange[],
  ): void {
    const group = this.#stateLog.state.groups.findById(progress.groupId);
    if (group === undefined) return;
    const policy = new RetryPolicy(group.settings);
    const due = queueProgress(progress, queueId).dueLeases(nowMs, streaming);
    if (isOrdered(group, progress)) {
      ended.push(
        ...this.#failInOrder(group, progress, queueId, due, { delayMs: streaming ? 0 : 1 }, policy),
      );
      return;
    }
    for (const range of due) {
      if (policy.exhausted(range.attempt)) {
        const reason = `its lease ended unsettled, after ${range.attempt} deliveries`;
        void this.#bury(group, progress, queueId, range, reason);
        continue;
      }
      const atMs = nowMs + (streaming ? policy.delayMs(range.attempt + 1) : 0);
      ended.push(settledRange(progress, queueId, range, SettledOutcome.RETRY, atMs));
    }
  }

  /** Stops the clock's decisions. */
  close(): void {
    this.#timer.cancel();
    for (const grace of this.#graces.values()) grace.cancel();
    this.#graces.clear();
  }
}

/** Are messages of an ordering key delivered one after the other? Broadcasting members read for themselves. */
function isOrdered(group: Group, progress: TopicProgress): boolean {
  return group.settings.ordered && progress.consumerId === '';
}
