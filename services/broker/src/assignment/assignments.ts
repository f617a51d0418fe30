// All groups whose members pull and share queues of this broker. Kept in memory: members join again after a restart.

import type { AssignmentStrategy } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import type { Group } from '../state/groups.ts';
import type { Topic } from '../state/topics.ts';
import { type Member, QueueAssignment } from './queue-assignment.ts';
import { strategyName } from './strategies.ts';

/** A member that is in, and what it reads. */
export interface AssignedMember {
  readonly topicId: number;
  readonly strategy: AssignmentStrategy;
  readonly member: Member;
  readonly queueIds: readonly number[];
}

/** The members of all groups. */
export class Assignments {
  readonly #broker: string;
  readonly #clock: Clock;
  /** By topic number, then by group number; none is empty. */
  readonly #byTopic = new Map<number, Map<number, QueueAssignment>>();

  /** @param broker name of the broker */
  constructor(broker: string, modules: { clock: Clock }) {
    this.#broker = broker;
    this.#clock = modules.clock;
  }

  /**
   * Lets a member in; one of the same id is put out.
   * Throws FAILED_PRECONDITION (STRATEGY_MISMATCH), RESOURCE_EXHAUSTED (TOO_MANY_MEMBERS).
   */
  join(group: Group, topic: Topic, strategy: AssignmentStrategy, member: Member): QueueAssignment {
    const groups = this.#byTopic.get(topic.id) ?? new Map<number, QueueAssignment>();
    const known = groups.get(group.id);
    if (known !== undefined && known.strategy !== strategy) {
      throw mismatch(group, topic, strategy, known.strategy);
    }
    const options = { strategy, broker: this.#broker, queues: () => topic.queues.length };
    const assignment = known ?? new QueueAssignment(options, this.#clock);
    assignment.join(member);
    this.#byTopic.set(topic.id, groups.set(group.id, assignment));
    return assignment;
  }

  /** A member is out. */
  leave(group: Group, topic: Topic, member: Member): void {
    const groups = this.#byTopic.get(topic.id);
    const assignment = groups?.get(group.id);
    assignment?.leave(member);
    if (assignment?.size !== 0) return;
    groups?.delete(group.id);
    if (groups?.size === 0) this.#byTopic.delete(topic.id);
  }

  /** A topic was changed or deleted. */
  topicChanged(topic: Topic, deleted: boolean): void {
    for (const assignment of [...(this.#byTopic.get(topic.id)?.values() ?? [])]) {
      if (!deleted) assignment.changed();
      else for (const { member } of [...assignment.members()]) member.fail(topicDeleted(topic));
    }
  }

  /** How the members of a group share a topic; undefined when there are none. */
  find(group: Group, topic: Topic): QueueAssignment | undefined {
    return this.#byTopic.get(topic.id)?.get(group.id);
  }

  /** The members of a group in all topics. */
  membersOf(group: Group): AssignedMember[] {
    const list: AssignedMember[] = [];
    for (const [topicId, groups] of this.#byTopic) {
      const assignment = groups.get(group.id);
      if (assignment === undefined) continue;
      const { strategy } = assignment;
      for (const one of assignment.members()) list.push({ topicId, strategy, ...one });
    }
    return list;
  }
}

function mismatch(
  group: Group,
  topic: Topic,
  wanted: AssignmentStrategy,
  used: AssignmentStrategy,
): TernError {
  return new TernError(
    'FAILED_PRECONDITION',
    'STRATEGY_MISMATCH',
    `the members of group ${group.name} share the queues of ${topic.name} by ${strategyName(used)}, and not by ` +
      `${strategyName(wanted)}; give all of them the same strategy`,
    { metadata: { group: group.name, topic: topic.name, strategy: strategyName(used) ?? '' } },
  );
}

function topicDeleted(topic: Topic): TernError {
  return new TernError(
    'NOT_FOUND',
    'TOPIC_NOT_FOUND',
    `topic ${topic.name} was deleted; create it and join again`,
    { metadata: { topic: topic.name } },
  );
}
