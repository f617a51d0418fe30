// Replicate: a slave takes this broker's log.

import { create, toBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type ReplicateRequest,
  type ReplicateRequest_Hello,
  ReplicateResponse_FollowSchema,
  ReplicateResponseSchema,
  ReplicationService,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { failStream, type GrpcServer, TernError } from '@ternmq/runtime';
import type { AttachedReplica, Replicas } from '../replication/replicas.ts';

type Call = ServerDuplexStream<ReplicateRequest, Buffer>;

const RAW = { replicate: { response: true } } as const;

/** Adds the service; `replicas` answers undefined, or throws, while the broker does not lead. */
export function addReplicationService(
  server: GrpcServer,
  options: { readonly brokerName: string; readonly epoch: () => number },
  replicas: () => Replicas,
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
              attached = attach(call, event.value, options.brokerName, replicas());
              call.write(followMessage(attached, options.epoch()));
              attached.feed.pump();
            }
          } catch (error) {
            failStream(call, error);
          }
        });
      },
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
  if (hello.brokerName !== brokerName) {
    throw new TernError(
      'INVALID_ARGUMENT',
      'WRONG_GROUP',
      `this broker is of the group ${brokerName} and not of ${hello.brokerName}; set --name to the group's name`,
    );
  }
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
