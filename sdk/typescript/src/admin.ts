// What operators do: topics, groups, progress, single messages, brokers. Every call goes to all broker groups that it
// concerns; what only some of them have done is told as PARTIAL.

import { BrokerAdmin } from './broker-admin.ts';
import { BrokerCalls, type Member } from './broker-calls.ts';
import { type CallOptions, CallTime } from './call-time.ts';
import type { Clock } from './clock.ts';
import {
  listDeadLetters,
  type ResendChoice,
  type ResendResult,
  resendDeadLetters,
} from './dead-letters.ts';
import { isMqError, MqError, noBroker } from './errors.ts';
import type { StartPoint } from './message.ts';
import { mayKeep } from './message-id.ts';
import { FOUND_MAX, findOn, type MessageQuery } from './message-query.ts';
import type { ReceivedMessage } from './received-message.ts';
import { type Repair, repairsOf } from './repair.ts';
import { type ResetStep, type ResetTarget, resetSteps } from './reset.ts';
import type { Routes } from './routes.ts';
import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import type { DeadLetter } from './transport/dead-letters.ts';
import {
  type BroadcastMemberDescription,
  type ConsumerDescription,
  consumerOf,
  type GroupDescription,
  type GroupSettings,
  groupOf,
  groupSettings,
  type ProgressDescription,
  type PullMemberDescription,
  progressOf,
  pullMemberOf,
  type QueueDescription,
  type StoppedDescription,
  stoppedOf,
  type TopicDescription,
  type TopicSettings,
  type TransactionDescription,
  type TransactionStateName,
  topicOf,
  topicSettings,
  transactionOf,
  transactionState,
} from './transport/descriptions.ts';
import { broker } from './transport/methods.ts';
import { receivedOf } from './transport/stored-message.ts';
import { targetOf } from './transport/subscription-opening.ts';
import { type MessageTrace, traceOn } from './transport/trace.ts';

const PAGE_SIZE = 1000;
const TRACE_MS = 600_000;

/** What copying a group's progress does to one queue. */
export interface CopyStep extends ResetStep {
  readonly topic: string;
}

/** Operators' calls; made by `Client.admin`. */
export class Admin extends BrokerAdmin {
  readonly #calls: BrokerCalls;
  readonly #clock: Clock;

  constructor(modules: { routes: Routes; channels: Channels; clock: Clock }) {
    super(modules);
    this.#calls = new BrokerCalls(modules);
    this.#clock = modules.clock;
  }

  /** Creates a topic on every broker group. Throws TOPIC_EXISTS, INVALID_FIELD, PARTIAL. */
  createTopic(
    name: string,
    settings: TopicSettings = {},
    options: CallOptions = {},
  ): Promise<TopicDescription[]> {
    return this.#calls.onAll(
      `topic ${name}`,
      options,
      async ({ channel, name: brokerName }, time) => {
        const request = { name, settings: topicSettings(settings) };
        const { topic } = await channel.unary(broker.createTopic, request, time);
        return topic === undefined ? [] : [topicOf(brokerName, topic)];
      },
    );
  }

  /** Changes a topic on every broker group that has it. Throws TOPIC_NOT_FOUND, QUEUES_SHRINK, PARTIAL. */
  updateTopic(
    name: string,
    settings: TopicSettings,
    options: CallOptions = {},
  ): Promise<TopicDescription[]> {
    return this.#calls.onOwners(
      'TOPIC_NOT_FOUND',
      options,
      async ({ channel, name: brokerName }, time) => {
        const request = { name, settings: topicSettings(settings) };
        const { topic } = await channel.unary(broker.updateTopic, request, time);
        return topic === undefined ? [] : [topicOf(brokerName, topic)];
      },
    );
  }

  /** Deletes a topic with its messages everywhere. Throws TOPIC_NOT_FOUND. */
  async deleteTopic(name: string, options: CallOptions = {}): Promise<void> {
    await this.#calls.onOwners('TOPIC_NOT_FOUND', options, async ({ channel }, time) => {
      await channel.unary(broker.deleteTopic, { name }, time);
      return [name];
    });
  }

  /** All topics of all broker groups. */
  listTopics(options: CallOptions = {}): Promise<TopicDescription[]> {
    return this.#calls.onAll('the list', options, async ({ channel, name }, time) => {
      const topics: TopicDescription[] = [];
      let pageToken = '';
      do {
        const page = await channel.unary(
          broker.listTopics,
          { pageSize: PAGE_SIZE, pageToken },
          time,
        );
        topics.push(...page.topics.map((topic) => topicOf(name, topic)));
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
      return topics;
    });
  }

  /** A topic and its queues. Throws TOPIC_NOT_FOUND. */
  async describeTopic(
    name: string,
    options: CallOptions = {},
  ): Promise<{ topics: TopicDescription[]; queues: QueueDescription[] }> {
    const found = await this.#calls.onOwners('TOPIC_NOT_FOUND', options, async (member, time) => [
      { member, answer: await member.channel.unary(broker.describeTopic, { name }, time) },
    ]);
    return {
      topics: found.flatMap(({ member, answer }) =>
        answer.topic === undefined ? [] : [topicOf(member.name, answer.topic)],
      ),
      queues: found.flatMap(({ member, answer }) =>
        answer.queues.map((queue) => ({
          broker: member.name,
          queueId: queue.queueId,
          beginOffset: Number(queue.beginOffset),
          endOffset: Number(queue.endOffset),
          lastStoreTimeMs: Number(queue.lastStoreTimeMs),
        })),
      ),
    };
  }

  /**
   * Makes topics and consumer groups the same on all broker groups, where creation or a change was PARTIAL, or a broker group is
   * new; returns the steps. Where settings differ, those of `like` are right, by default of the one that has the thing for
   * longest; a topic gets the most queues that it has anywhere. Progress is not copied. Throws NO_BROKER, COMPACTION_FIXED,
   * PRIORITY_FIXED.
   *
   * @param options.dryRun only returns the steps
   */
  async repair(
    options: CallOptions & { readonly like?: string; readonly dryRun?: boolean } = {},
  ): Promise<Repair[]> {
    const time = new CallTime(this.#clock, options);
    const members = await this.#calls.members(time);
    const names = members.map(({ name }) => name);
    if (options.like !== undefined && !names.includes(options.like)) throw noBroker();
    const [topics, groups] = await Promise.all([
      this.listTopics(options),
      this.listGroups(options),
    ]);
    const steps = repairsOf(names, topics, groups, options.like);
    if (options.dryRun === true) return steps;
    for (const step of steps) {
      const member = members.find(({ name }) => name === step.broker) as Member;
      await repairOn(member.channel, step, time);
    }
    return steps;
  }

  /** Creates a consumer group on every broker group. Throws GROUP_EXISTS, PARTIAL. */
  createGroup(
    name: string,
    settings: GroupSettings = {},
    options: CallOptions = {},
  ): Promise<GroupDescription[]> {
    return this.#calls.onAll(
      `group ${name}`,
      options,
      async ({ channel, name: brokerName }, time) => {
        const request = { name, settings: groupSettings(settings) };
        const { group } = await channel.unary(broker.createGroup, request, time);
        return group === undefined ? [] : [groupOf(brokerName, group)];
      },
    );
  }

  /** Changes a group on every broker group that has it. Throws GROUP_NOT_FOUND. */
  updateGroup(
    name: string,
    settings: GroupSettings,
    options: CallOptions = {},
  ): Promise<GroupDescription[]> {
    return this.#calls.onOwners(
      'GROUP_NOT_FOUND',
      options,
      async ({ channel, name: brokerName }, time) => {
        const request = { name, settings: groupSettings(settings) };
        const { group } = await channel.unary(broker.updateGroup, request, time);
        return group === undefined ? [] : [groupOf(brokerName, group)];
      },
    );
  }

  /** Deletes a group with its progress everywhere. Throws GROUP_NOT_FOUND, GROUP_IN_USE. */
  async deleteGroup(name: string, options: CallOptions = {}): Promise<void> {
    await this.#calls.onOwners('GROUP_NOT_FOUND', options, async ({ channel }, time) => {
      await channel.unary(broker.deleteGroup, { name }, time);
      return [name];
    });
  }

  /** All groups of all broker groups. */
  listGroups(options: CallOptions = {}): Promise<GroupDescription[]> {
    return this.#calls.onAll('the list', options, async ({ channel, name }, time) => {
      const groups: GroupDescription[] = [];
      let pageToken = '';
      do {
        const page = await channel.unary(
          broker.listGroups,
          { pageSize: PAGE_SIZE, pageToken },
          time,
        );
        groups.push(...page.groups.map((group) => groupOf(name, group)));
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
      return groups;
    });
  }

  /** A group, its consumers and its progress. Throws GROUP_NOT_FOUND. */
  async describeGroup(
    name: string,
    options: CallOptions = {},
  ): Promise<{
    groups: GroupDescription[];
    consumers: ConsumerDescription[];
    pullMembers: PullMemberDescription[];
    /** Broadcasting members that are remembered, connected or not, by topic. */
    broadcastMembers: BroadcastMemberDescription[];
    progress: ProgressDescription[];
    /** Messages that hold back their ordering keys: the first 1000 of each broker; `listStopped` tells all. */
    stopped: StoppedDescription[];
  }> {
    const found = await this.#calls.onOwners('GROUP_NOT_FOUND', options, async (member, time) => [
      { member, answer: await member.channel.unary(broker.describeGroup, { name }, time) },
    ]);
    return {
      groups: found.flatMap(({ member, answer }) =>
        answer.group === undefined ? [] : [groupOf(member.name, answer.group)],
      ),
      consumers: found.flatMap(({ member, answer }) =>
        answer.consumers.map((consumer) => consumerOf(member.name, consumer)),
      ),
      pullMembers: found.flatMap(({ member, answer }) =>
        answer.pullMembers.map((one) => pullMemberOf(member.name, one)),
      ),
      stopped: found.flatMap(({ member, answer }) =>
        answer.stopped.map((one) => stoppedOf(member.name, one)),
      ),
      broadcastMembers: found.flatMap(({ member, answer }) =>
        answer.topics
          .filter(({ consumerId }) => consumerId !== '')
          .map(({ topic, consumerId, seenMs }) => ({
            broker: member.name,
            topic,
            consumerId,
            seenMs: Number(seenMs),
          })),
      ),
      progress: found.flatMap(({ member, answer }) =>
        answer.topics.flatMap(({ topic, consumerId, queues }) =>
          queues.map((queue) => progressOf(member.name, topic, consumerId, queue)),
        ),
      ),
    };
  }

  /**
   * The messages of an ordered group that hold back their ordering keys after their last delivery, by broker, topic, queue
   * and offset. Throws GROUP_NOT_FOUND.
   */
  listStopped(group: string, options: CallOptions = {}): Promise<StoppedDescription[]> {
    return this.#calls.onOwners('GROUP_NOT_FOUND', options, async ({ channel, name }, time) => {
      const found: StoppedDescription[] = [];
      for (let pageToken = ''; ; ) {
        const request = { group, pageSize: PAGE_SIZE, pageToken };
        const page = await channel.unary(broker.listStopped, request, time);
        found.push(...page.stopped.map((one) => stoppedOf(name, one)));
        pageToken = page.nextPageToken;
        if (pageToken === '') return found;
      }
    });
  }

  /**
   * Lets a message go on that holds back its ordering key: it is delivered once more, or moves to the dead letters.
   * Throws NOT_STOPPED.
   */
  async releaseStopped(
    group: string,
    stopped: Pick<StoppedDescription, 'broker' | 'topic' | 'queueId' | 'offset'>,
    options: CallOptions & { readonly deadLetter?: boolean } = {},
  ): Promise<void> {
    const time = new CallTime(this.#clock, options);
    const member = (await this.#calls.members(time)).find(({ name }) => name === stopped.broker);
    if (member === undefined) {
      throw new MqError('NO_BROKER', `there is no broker ${stopped.broker}`);
    }
    const { topic, queueId, offset } = stopped;
    await member.channel.unary(
      broker.releaseStopped,
      { group, topic, queueId, offset: BigInt(offset), deadLetter: options.deadLetter ?? false },
      time,
    );
  }

  /** A group's progress in a topic; empty where it has none. Throws GROUP_NOT_FOUND, TOPIC_NOT_FOUND. */
  getOffset(
    group: string,
    topic: string,
    options: CallOptions = {},
  ): Promise<ProgressDescription[]> {
    return this.#calls.onOwners(
      ['TOPIC_NOT_FOUND', 'GROUP_NOT_FOUND'],
      options,
      async ({ channel, name }, time) => {
        const { queues } = await channel.unary(broker.getOffset, { group, topic }, time);
        return queues.map((queue) => progressOf(name, topic, '', queue));
      },
    );
  }

  /** The offsets of a topic's queues at a place. Throws TOPIC_NOT_FOUND. */
  queryOffset(
    topic: string,
    at: StartPoint,
    options: CallOptions = {},
  ): Promise<{ broker: string; queueId: number; offset: number }[]> {
    return this.#calls.onOwners('TOPIC_NOT_FOUND', options, async ({ channel, name }, time) => {
      const { offsets } = await channel.unary(
        broker.queryOffset,
        { topic, target: targetOf(at) },
        time,
      );
      return offsets.map(({ queueId, offset }) => ({
        broker: name,
        queueId,
        offset: Number(offset),
      }));
    });
  }

  /**
   * Sets a group's progress in all queues of a topic; consumers and members that pull go on from there, and what they were
   * given before cannot undo it.
   *
   * @param reset.dryRun tell what would be done, and do nothing
   */
  async resetGroup(
    reset: { group: string; topic: string; to: ResetTarget; dryRun?: boolean },
    options: CallOptions = {},
  ): Promise<ResetStep[]> {
    const { group, topic, to } = reset;
    const time = new CallTime(this.#clock, options);
    const progress = await this.getOffset(group, topic, time).catch((error: unknown) => {
      if (isMqError(error, 'GROUP_NOT_FOUND')) return [];
      throw error;
    });
    const begins = await this.queryOffset(topic, 'first', time);
    const ends = await this.queryOffset(topic, 'last', time);
    const shifted = typeof to === 'object' && 'shift' in to;
    const targets = shifted ? begins : await this.queryOffset(topic, to, time);
    const steps = resetSteps(shifted ? to.shift : undefined, { progress, begins, ends, targets });
    if (reset.dryRun !== true) await this.#commit(group, topic, steps, time);
    return steps;
  }

  async #commit(
    group: string,
    topic: string,
    steps: readonly ResetStep[],
    time: CallTime,
  ): Promise<void> {
    for (const { name, channel } of await this.#calls.members(time)) {
      const offsets = steps
        .filter((step) => step.broker === name)
        .map(({ queueId, after }) => ({ queueId, offset: BigInt(after) }));
      if (offsets.length === 0) continue;
      await channel.unary(broker.commitOffset, { group, topic, offsets }, time);
    }
  }

  /**
   * Sets a group to where another one is: it has before it at least what the other one has not settled, and maybe some
   * that the other one has. Its consumers go on from there, as with `resetGroup`. Throws GROUP_NOT_FOUND, TOPIC_NOT_FOUND,
   * NO_PROGRESS, SAME_GROUP.
   *
   * @param copy.topic only this topic. Default: all that the group reads
   * @param copy.dryRun tell what would be done, and do nothing
   */
  copyOffsets(
    copy: { from: string; to: string; topic?: string; dryRun?: boolean },
    options: CallOptions = {},
  ): Promise<CopyStep[]> {
    const { from: fromGroup, to: toGroup, topic = '', dryRun = false } = copy;
    return this.#calls.onOwners(
      ['TOPIC_NOT_FOUND', 'GROUP_NOT_FOUND', 'NO_PROGRESS'],
      options,
      async ({ channel, name }, time) => {
        const request = { fromGroup, toGroup, topic, dryRun };
        const { topics } = await channel.unary(broker.copyOffsets, request, time);
        return topics.flatMap((one) =>
          one.queues.map(({ queueId, before, after }) => ({
            topic: one.topic,
            broker: name,
            queueId,
            before: before === undefined ? undefined : Number(before),
            after: Number(after),
          })),
        );
      },
    );
  }

  /**
   * Forgets a broadcasting member of a group and its progress; when it comes again it is new.
   * Throws GROUP_NOT_FOUND, MEMBER_NOT_FOUND, MEMBER_CONNECTED.
   */
  async removeMember(group: string, consumerId: string, options: CallOptions = {}): Promise<void> {
    const missing = ['GROUP_NOT_FOUND', 'MEMBER_NOT_FOUND'];
    await this.#calls.onOwners(missing, options, async ({ channel }, time) => {
      await channel.unary(broker.removeMember, { group, consumerId }, time);
      return [consumerId];
    });
  }

  /**
   * Messages that a group gave up, of all brokers. Throws GROUP_NOT_FOUND.
   *
   * @param list.max at most so many. Default: 100
   * @param list.order which come first. Default: `newest`
   */
  async listDeadLetters(
    list: { group: string; max?: number; order?: 'oldest' | 'newest' },
    options: CallOptions = {},
  ): Promise<DeadLetter[]> {
    const { group, max = 100, order = 'newest' } = list;
    const time = new CallTime(this.#clock, options);
    return listDeadLetters(await this.#calls.members(time), { group, max, order }, time);
  }

  /**
   * Sends dead letters to the topics again that they come from, where every group gets them as new messages. Each is
   * sent again once, ever: calling this again is harmless. Throws GROUP_NOT_FOUND, DISK_FULL, INVALID_MESSAGE_ID.
   *
   * @param options hold for each of the calls that this is made of, and not for all together
   */
  async resendDeadLetters(choice: ResendChoice, options: CallOptions = {}): Promise<ResendResult> {
    const members = await this.#calls.members(new CallTime(this.#clock, options));
    return resendDeadLetters(members, choice, options, this.#clock);
  }

  /** Transactions of all brokers that are open or ended within the last 24 h; the oldest of each broker first. */
  async listTransactions(
    options: CallOptions & {
      readonly state?: TransactionStateName;
      readonly producerGroup?: string;
    } = {},
  ): Promise<TransactionDescription[]> {
    const { state, producerGroup = '' } = options;
    return this.#calls.onAll('the list', options, async ({ channel, name }, call) => {
      const found: TransactionDescription[] = [];
      for (let pageToken = ''; ; ) {
        const page = await channel.unary(
          broker.listTransactions,
          { pageSize: PAGE_SIZE, pageToken, producerGroup, state: transactionState(state) },
          call,
        );
        found.push(...page.transactions.map((one) => transactionOf(name, one)));
        pageToken = page.nextPageToken;
        if (pageToken === '') return found;
      }
    });
  }

  /**
   * Decides a transaction by hand. Throws TRANSACTION_NOT_FOUND, and TRANSACTION_ENDED when it was decided otherwise
   * before.
   */
  async endTransaction(
    transactionId: string,
    outcome: 'commit' | 'rollback',
    options: CallOptions = {},
  ): Promise<TransactionDescription> {
    const time = new CallTime(this.#clock, options);
    const members = await this.#calls.members(time);
    const keeper = members.find(({ name }) => mayKeep(name, transactionId)) ?? members[0];
    const cause = 'an operator';
    const { name, channel } = keeper as Member;
    const { transaction } = await channel.unary(
      broker.endTransaction,
      {
        transactionId,
        cause,
        state: transactionState(outcome === 'commit' ? 'committed' : 'rolled back'),
      },
      time,
    );
    return transactionOf(name, transaction as NonNullable<typeof transaction>);
  }

  /** One message by its id. Throws MESSAGE_NOT_FOUND, INVALID_MESSAGE_ID. */
  async getMessage(id: string, options: CallOptions = {}): Promise<ReceivedMessage> {
    const time = new CallTime(this.#clock, options);
    const members = await this.#calls.members(time);
    const keepers = members.filter(({ name }) => mayKeep(name, id));
    // An id that no broker's name fits is given to any of them, for its sentence.
    const asked = keepers.length > 0 ? keepers : members.slice(0, 1);
    let failure: unknown;
    for (const { name, channel } of asked) {
      try {
        const { topic, message } = await channel.unary(broker.getMessage, { messageId: id }, time);
        return receivedOf(message, topic, name);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  /** Messages of a topic by key, store time, or both, of all brokers, the newest first. Throws TOPIC_NOT_FOUND. */
  async findMessages(wanted: MessageQuery, options: CallOptions = {}): Promise<ReceivedMessage[]> {
    const { max = FOUND_MAX } = wanted;
    const found = await this.#calls.onOwners(
      'TOPIC_NOT_FOUND',
      options,
      ({ channel, name }, time) => findOn(channel, name, { ...wanted, max }, time),
    );
    found.sort((one, other) => other.storeTimeMs - one.storeTimeMs);
    return found.slice(0, max);
  }

  /**
   * What happened to a message, and to what became of it. The broker searches its log, which may take minutes: allow enough
   * time. Throws MESSAGE_NOT_FOUND, INVALID_MESSAGE_ID, TOO_MANY_TRACES.
   *
   * @param options.deadlineMs default: ten minutes
   * @param options.progress told how much of the log is searched, from 0 to 1
   */
  async traceMessage(
    id: string,
    options: CallOptions & { readonly progress?: (share: number) => void } = {},
  ): Promise<MessageTrace> {
    const { progress = () => {}, deadlineMs = TRACE_MS, signal } = options;
    const time = new CallTime(this.#clock, { deadlineMs, signal });
    const members = await this.#calls.members(time);
    const keeper = members.find(({ name }) => mayKeep(name, id)) ?? members[0];
    return traceOn((keeper as Member).channel, id, this.#clock, time, progress);
  }
}

async function repairOn(channel: Channel, step: Repair, time: CallTime): Promise<void> {
  const { name, action } = step;
  if (step.what === 'topic') {
    const request = { name, settings: topicSettings(step.settings) };
    if (action === 'create') await channel.unary(broker.createTopic, request, time);
    else await channel.unary(broker.updateTopic, request, time);
  } else {
    const request = { name, settings: groupSettings(step.settings) };
    if (action === 'create') await channel.unary(broker.createGroup, request, time);
    else await channel.unary(broker.updateGroup, request, time);
  }
}
