// Replicate: a slave takes this broker's log. MergeProgress: it tells what it has done while the group had no master.

import { create, toBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type MergeProgressRequest,
  type MergeProgressResponse,
  type ReplicateRequest,
  type ReplicateRequest_Hello,
  ReplicateResponse_FollowSchema,
  ReplicateResponseSchema,
  ReplicationService,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { failStream, type GrpcServer, TernError, unary } from '@ternmq/runtime';
import type { AttachedReplica, Replicas } from '../replication/replicas.ts';
import { isWellFormed } from '../state/settled-elsewhere.ts';

type Call = ServerDuplexStream<ReplicateRequest, Buffer>;

const QUEUES_MAX = 4096;
const RAW = { replicate: { response: true } } as const;

/** What a broker that leads does for its slaves; both throw UNAVAILABLE (NOT_MASTER) when it does not. */
export interface ReplicationModules {
  replicas(): Replicas;
  /** As MergeProgress. */
  merge(request: MergeProgressRequest): Promise<void>;
}

/** Adds the service. */
export function addReplicationService(
  server: GrpcServer,
  options: { readonly brokerName: string; readonly epoch: () => number },
  modules: ReplicationModules,
): void {
  server.add(
    ReplicationService,
    {
      replicate(call: Call): void {
        let attached: AttachedReplica | undefined;
        const ended = (): void => attached?.detached();
        call.on('cancelled', ended);
        call.on('error', ended);
        call.on('close', ended);
        call.on('end', () => {
          ended();
          call.end();
        });
        call.on('drain', () => attached?.feed.drained());
        call.on('data', ({ event }: ReplicateRequest) => {
          try {
            if (event.case === 'progress') {
              attached?.acknowledged(Number(event.value.durablePosition));
            } else if (event.case === 'hello' && attached === undefined) {
              attached = attach(call, event.value, options.brokerName, modules.replicas());
              call.write(followMessage(attached, options.epoch()));
              attached.feed.pump();
            }
          } catch (error) {
            failStream(call, error);
          }
        });
      },

      mergeProgress: unary(
        async (request: MergeProgressRequest): Promise<MergeProgressResponse> => {
          const { brokerName, queues } = request;
          checkGroup(brokerName, options.brokerName);
          if (queues.length > QUEUES_MAX || !queues.every(isWellFormed)) {
            const description = `at most ${QUEUES_MAX}, with ranges in their order that do not touch`;
            throw new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `queues: ${description}`, {
              fields: [{ field: 'queues', description }],
            });
          }
          await modules.merge(request);
          return { $typeName: 'ternmq.broker.v1.MergeProgressResponse' };
        },
      ),
    },
    RAW,
  );
}

function attach(
  call: Call,
  hello: ReplicateRequest_Hello,
  brokerName: string,
  replicas: Replicas,
): AttachedReplica {
  checkGroup(hello.brokerName, brokerName);
  const slave = {
    start: Number(hello.startPosition),
    end: Number(hello.endPosition),
    copying: hello.copying,
    address: hello.address,
    epochs: hello.epochs.map(({ epoch, startPosition, nonce }) => ({
      epoch,
      start: Number(startPosition),
      nonce: Number(nonce),
    })),
  };
  return replicas.attach(hello.id, slave, {
    write: (message) => call.write(message),
    fail: (error) => failStream(call, error),
  });
}

/** Throws INVALID_ARGUMENT (WRONG_GROUP). */
function checkGroup(named: string, brokerName: string): void {
  if (named === brokerName) return;
  throw new TernError(
    'INVALID_ARGUMENT',
    'WRONG_GROUP',
    `this broker is of the group ${brokerName} and not of ${named}; set --name to the group's name`,
  );
}

function followMessage({ from: { common, master } }: AttachedReplica, epoch: number): Buffer {
  const follow = create(ReplicateResponse_FollowSchema, {
    epoch,
    startPosition: BigInt(master.start),
    endPosition: BigInt(master.end),
    ...(common === undefined ? {} : { commonPosition: BigInt(common) }),
  });
  const response = create(ReplicateResponseSchema, { event: { case: 'follow', value: follow } });
  return Buffer.from(toBinary(ReplicateResponseSchema, response));
}
