// Heartbeat and NotifyClientTermination: the only two RPCs that a client must have sent its settings for.

import type { handleUnaryCall } from '@grpc/grpc-js';
import { Code } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type HeartbeatRequest,
  HeartbeatResponseSchema,
  type NotifyClientTerminationRequest,
  NotifyClientTerminationResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { answered } from './answered.ts';
import type { Clients } from './clients.ts';
import { Refused } from './status.ts';

/** Heartbeat. */
export function heartbeat(clients: Clients): handleUnaryCall<HeartbeatRequest, unknown> {
  return answered(HeartbeatResponseSchema, (_: HeartbeatRequest, { clientId }) => {
    if (clients.find(clientId) === undefined) throw unknown(clientId);
    clients.heard(clientId);
    return {};
  });
}

/** NotifyClientTermination: what was delivered to the client is free at once. May be repeated. */
export function notifyClientTermination(
  clients: Clients,
): handleUnaryCall<NotifyClientTerminationRequest, unknown> {
  return answered(
    NotifyClientTerminationResponseSchema,
    (_: NotifyClientTerminationRequest, { clientId }) => {
      if (!clients.end(clientId)) throw unknown(clientId);
      return {};
    },
  );
}

function unknown(clientId: string): Refused {
  return new Refused(
    Code.UNRECOGNIZED_CLIENT_TYPE,
    `client ${clientId} has sent no settings to this server; send them over Telemetry first`,
  );
}
