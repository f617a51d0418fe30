// QueryAssignment: what a push consumer receives from. Every member of a group gets the same answer; who gets which message
// is decided when it is received.

import type { handleUnaryCall } from '@grpc/grpc-js';
import {
  Code,
  type MessageQueue,
  Permission,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type QueryAssignmentRequest,
  QueryAssignmentResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import type { GroupSettings } from '../state/groups.ts';
import { answered } from './answered.ts';
import { checkedEndpoints } from './endpoints.ts';
import { endpointsFor, type RouteModules, servingBrokers } from './query-route.ts';
import { groupNameOf, topicNameOf } from './resource.ts';
import { Refused } from './status.ts';

/** All queues of a broker. */
const ANY_QUEUE = -1;

/** The RPC. */
export function queryAssignment(
  modules: RouteModules & { readonly groupSettings: (name: string) => GroupSettings },
): handleUnaryCall<QueryAssignmentRequest, unknown> {
  return answered(
    QueryAssignmentResponseSchema,
    async (request: QueryAssignmentRequest, caller) => {
      const { topic, group } = request;
      const dialled = checkedEndpoints(request.endpoints);
      const name = topicNameOf(topic, caller.namespace);
      const { ordered } = modules.groupSettings(groupNameOf(group, caller.namespace));
      const brokers = await servingBrokers(modules.brokers, name);
      const readable = brokers.filter((broker) => broker.readable);
      if (readable.length === 0) {
        throw new Refused(Code.FORBIDDEN, `no queue of topic ${name} may be read now`);
      }
      const assignments = readable.flatMap((broker) => {
        const endpoints = endpointsFor(broker, modules.advertised, dialled);
        const ids = ordered ? Array.from({ length: broker.queues }, (_, id) => id) : [ANY_QUEUE];
        return ids.map((id) => ({
          messageQueue: {
            $typeName: 'apache.rocketmq.v2.MessageQueue' as const,
            ...(topic === undefined ? {} : { topic }),
            id,
            permission: broker.writable ? Permission.READ_WRITE : Permission.READ,
            broker: {
              $typeName: 'apache.rocketmq.v2.Broker' as const,
              name: broker.brokerName,
              id: 0,
              endpoints,
            },
            acceptMessageTypes: [],
          } satisfies MessageQueue,
        }));
      });
      return { assignments };
    },
  );
}
