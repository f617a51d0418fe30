// What an operator decides about a broker group: MoveLeadership, AllowUncleanLeader, RemoveReplica. Served in every role.

import type {
  AllowUncleanLeaderResponse,
  MoveLeadershipRequest,
  MoveLeadershipResponse,
  RemoveReplicaRequest,
  RemoveReplicaResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Handlers, unary } from '@ternmq/runtime';

/** Who carries them out. */
export interface LeadershipMoves {
  /** Gives the leadership to a member; returns its number. */
  moveTo(id: number | undefined): Promise<number>;
  /** Lets this member lead although it was not in sync. */
  allowUnclean(): Promise<void>;
  /** Takes a slave out of the in-sync set; returns the set. */
  removeReplica(id: number): Promise<readonly number[]>;
}

/** The RPCs. */
export function leadershipHandlers(moves: LeadershipMoves): Handlers {
  return {
    moveLeadership: unary(
      async ({ to }: MoveLeadershipRequest): Promise<MoveLeadershipResponse> => ({
        $typeName: 'ternmq.broker.v1.MoveLeadershipResponse',
        to: await moves.moveTo(to),
      }),
    ),
    removeReplica: unary(
      async ({ id }: RemoveReplicaRequest): Promise<RemoveReplicaResponse> => ({
        $typeName: 'ternmq.broker.v1.RemoveReplicaResponse',
        inSync: [...(await moves.removeReplica(id))],
      }),
    ),
    allowUncleanLeader: unary(async (): Promise<AllowUncleanLeaderResponse> => {
      await moves.allowUnclean();
      return { $typeName: 'ternmq.broker.v1.AllowUncleanLeaderResponse' };
    }),
  };
}
