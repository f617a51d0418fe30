// QueryRoute: the queues of a topic, and who serves them.

import type { handleUnaryCall } from '@grpc/grpc-js';
import {
  Code,
  type Endpoints,
  type MessageQueue,
  MessageType,
  Permission,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type QueryRouteRequest,
  QueryRouteResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService, TopicKind } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { answered } from './answered.ts';
import type { Brokers, ServingBroker } from './brokers.ts';
import type { Caller } from './caller.ts';
import { checkedEndpoints, endpointsOf } from './endpoints.ts';
import { topicNameOf } from './resource.ts';
import { Refused } from './status.ts';

/** What a route is made of. */
export interface RouteModules {
  readonly brokers: Brokers;
  /** Where clients are told to reach this broker, `host:port`; undefined for what they have connected to. */
  readonly advertised: string | undefined;
}

/** What a topic takes; values that only newer clients know are told of no other topic. */
function acceptedBy(kind: TopicKind): readonly MessageType[] {
  switch (kind) {
    case TopicKind.NORMAL:
      return [MessageType.NORMAL];
    case TopicKind.ORDERED:
      return [MessageType.FIFO];
    case TopicKind.DELAYED:
      return [MessageType.DELAY];
    case TopicKind.TRANSACTIONAL:
      return [MessageType.TRANSACTION];
    case TopicKind.PRIORITY:
      return [MessageType.PRIORITY];
    default:
      return [MessageType.NORMAL, MessageType.FIFO, MessageType.DELAY, MessageType.TRANSACTION];
  }
}

/** The RPC. */
export function queryRoute(modules: RouteModules): handleUnaryCall<QueryRouteRequest, unknown> {
  return answered(
    QueryRouteResponseSchema,
    async ({ topic, endpoints }: QueryRouteRequest, caller) => {
      const dialled = checkedEndpoints(endpoints);
      const name = topicNameOf(topic, caller.namespace);
      const brokers = await servingBrokers(modules.brokers, name);
      const acceptMessageTypes = [...acceptedBy(await kindOf(name, brokers, caller))];
      const messageQueues = brokers.flatMap((broker) => {
        const permission = permissionOf(broker);
        const at = endpointsFor(broker, modules.advertised, dialled);
        return Array.from(
          { length: broker.queues },
          (_, id): MessageQueue => ({
            $typeName: 'apache.rocketmq.v2.MessageQueue',
            ...(topic === undefined ? {} : { topic }),
            id,
            permission,
            broker: {
              $typeName: 'apache.rocketmq.v2.Broker',
              name: broker.brokerName,
              id: 0,
              endpoints: at,
            },
            acceptMessageTypes,
          }),
        );
      });
      return { messageQueues };
    },
  );
}

/** All that serve a topic; at least one. Throws Refused (TOPIC_NOT_FOUND). */
export async function servingBrokers(brokers: Brokers, topic: string): Promise<ServingBroker[]> {
  const serving = await brokers.of(topic);
  if (serving.length > 0) return serving;
  throw new Refused(
    Code.TOPIC_NOT_FOUND,
    `CODE: 17  DESC: No topic route info in name server for the topic: ${topic}; create it with 'tern topic create ${topic}'`,
  );
}

/** Where a client reaches a broker: at what it has dialled, unless it is told otherwise. */
export function endpointsFor(
  broker: ServingBroker,
  advertised: string | undefined,
  dialled: Endpoints,
): Endpoints {
  const address = broker.own ? (advertised ?? '') : broker.rocketmqAddress;
  return (address === '' ? undefined : endpointsOf(address)) ?? dialled;
}

async function kindOf(
  name: string,
  [first]: readonly ServingBroker[],
  caller: Caller,
): Promise<TopicKind> {
  const described = await first?.link.call(BrokerService.method.describeTopic, { name }, caller);
  return described?.topic?.settings?.kind ?? TopicKind.UNSPECIFIED;
}

function permissionOf({ readable, writable }: ServingBroker): Permission {
  if (readable && writable) return Permission.READ_WRITE;
  if (readable) return Permission.READ;
  return writable ? Permission.WRITE : Permission.NONE;
}
