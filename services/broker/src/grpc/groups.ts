// Consumer groups: create, update, delete, list, describe.

import {
  type CreateGroupRequest,
  type CreateGroupResponse,
  type DeleteGroupRequest,
  type DeleteGroupResponse,
  type DescribeGroupRequest,
  type DescribeGroupResponse,
  ExhaustedAction,
  type GroupSettings as GroupSettingsMessage,
  type ListGroupsRequest,
  type ListGroupsResponse,
  type RemoveMemberRequest,
  type RemoveMemberResponse,
  type TopicProgress as TopicProgressMessage,
  type UpdateGroupRequest,
  type UpdateGroupResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { Assignments } from '../assignment/assignments.ts';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { assertUnused } from '../delivery/group-use.ts';
import type { LagTimes } from '../delivery/lag-times.ts';
import type { MatchingLags } from '../delivery/matching-lag.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { type Group, type GroupSettings, groupMessage, groupSettings } from '../state/groups.ts';
import type { StateLog } from '../state/state-log.ts';
import { page } from './page.ts';
import { queueProgressMessages } from './progress.ts';
import { stoppedMessages } from './stopped.ts';
import { SubscribeStream } from './subscribe.ts';

/** Stopped messages that DescribeGroup tells. */
const STOPPED_TOLD_MAX = 1000;

/** What a change says; what it does not say stays. */
function changesOf(settings: GroupSettingsMessage | undefined): Partial<GroupSettings> {
  const { ordered, stops, ...rest } = groupSettings(settings);
  const action = settings?.exhaustedAction ?? ExhaustedAction.UNSPECIFIED;
  return {
    ...rest,
    ...(settings?.ordered === undefined ? {} : { ordered }),
    ...(action === ExhaustedAction.UNSPECIFIED ? {} : { stops }),
  };
}

/** The RPCs. Changes are answered when they are durable. */
export function groupHandlers(modules: {
  groups: GroupCatalog;
  delivery: Delivery;
  assignments: Assignments;
  lagTimes: LagTimes;
  matchingLag: MatchingLags;
  stateLog: StateLog;
  state: BrokerState;
  log: CommitLog;
}): {
  createGroup(request: CreateGroupRequest): Promise<CreateGroupResponse>;
  updateGroup(request: UpdateGroupRequest): Promise<UpdateGroupResponse>;
  deleteGroup(request: DeleteGroupRequest): Promise<DeleteGroupResponse>;
  removeMember(request: RemoveMemberRequest): Promise<RemoveMemberResponse>;
  listGroups(request: ListGroupsRequest): ListGroupsResponse;
  describeGroup(request: DescribeGroupRequest): Promise<DescribeGroupResponse>;
} {
  const { groups, delivery, assignments, stateLog, state, log } = modules;
  return {
    async createGroup({ name, settings }) {
      const group = groups.create(name, groupSettings(settings));
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.CreateGroupResponse', group: groupMessage(group) };
    },

    async updateGroup({ name, settings }) {
      const changes = changesOf(settings);
      const before = groups.get(name);
      if (changes.ordered !== undefined && changes.ordered !== before.settings.ordered) {
        assertUnused(delivery, before, 0);
      }
      const group = groups.update(name, changes);
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.UpdateGroupResponse', group: groupMessage(group) };
    },

    async deleteGroup({ name }) {
      const group = groups.get(name);
      assertUnused(delivery, group, assignments.membersOf(group).length);
      groups.delete(name);
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.DeleteGroupResponse' };
    },

    async removeMember({ group: name, consumerId }) {
      const progressIds = removable(groups.get(name), consumerId, delivery);
      stateLog.change({
        case: 'progressEnded',
        value: { $typeName: 'ternmq.log.v1.ProgressEnded', progressIds },
      });
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.RemoveMemberResponse' };
    },

    listGroups({ pageSize, pageToken }) {
      const { items, nextPageToken } = page([...state.groups.all()], pageSize, pageToken);
      return {
        $typeName: 'ternmq.broker.v1.ListGroupsResponse',
        groups: items.map(groupMessage),
        nextPageToken,
      };
    },

    async describeGroup({ name }) {
      const group = groups.get(name);
      const told: TopicProgressMessage[] = [];
      for (const progress of [...group.progress.values()]) {
        const topic = state.topics.findById(progress.topicId);
        if (topic === undefined) continue;
        told.push({
          $typeName: 'ternmq.broker.v1.TopicProgress',
          topic: topic.name,
          consumerId: progress.consumerId,
          queues: await queueProgressMessages(state, modules, topic, progress),
          seenMs: BigInt(delivery.isAttached(progress) ? stateLog.timeMs() : progress.seenMs),
        });
      }
      told.sort((one, other) => (one.topic < other.topic ? -1 : 1));
      const consumers: DescribeGroupResponse['consumers'] = [];
      for (const consumer of delivery.consumersOf(group)) {
        if (!(consumer instanceof SubscribeStream) || consumer.opening === undefined) continue;
        consumers.push({
          $typeName: 'ternmq.broker.v1.ConsumerDescription',
          consumerId: consumer.id,
          address: consumer.address,
          mode: consumer.opening.mode,
          subscriptions: consumer.opening.subscriptions,
        });
      }
      return {
        $typeName: 'ternmq.broker.v1.DescribeGroupResponse',
        group: groupMessage(group),
        consumers,
        topics: told,
        pullMembers: pullMembers(group, assignments, state),
        stopped: stoppedMessages(group, state, STOPPED_TOLD_MAX),
      };
    },
  };
}

/** The progress of a broadcasting member that is not connected. Throws NOT_FOUND, FAILED_PRECONDITION. */
function removable(group: Group, consumerId: string, delivery: Delivery): number[] {
  const found = [...group.progress.values()].filter((one) => one.consumerId === consumerId);
  if (consumerId === '' || found.length === 0) {
    throw new TernError(
      'NOT_FOUND',
      'MEMBER_NOT_FOUND',
      `group ${group.name} has no broadcasting member of that name on this broker`,
      { metadata: { group: group.name } },
    );
  }
  if (found.some((progress) => delivery.isAttached(progress))) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'MEMBER_CONNECTED',
      `${consumerId} is connected; stop it before it is removed from group ${group.name}`,
      { metadata: { group: group.name } },
    );
  }
  return found.map(({ id }) => id);
}

/** The members of a group that pull, by topic and consumer id. */
function pullMembers(
  group: Group,
  assignments: Assignments,
  state: BrokerState,
): DescribeGroupResponse['pullMembers'] {
  return assignments
    .membersOf(group)
    .map(({ topicId, strategy, member, queueIds }) => ({
      $typeName: 'ternmq.broker.v1.PullMember' as const,
      topic: state.topics.findById(topicId)?.name ?? '',
      consumerId: member.id,
      address: member.address,
      strategy,
      room: member.room,
      queueIds: [...queueIds],
    }))
    .sort((one, other) => {
      if (one.topic !== other.topic) return one.topic < other.topic ? -1 : 1;
      return one.consumerId < other.consumerId ? -1 : 1;
    });
}
