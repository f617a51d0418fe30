// Turns an asynchronous function into a handler of a unary method of the protocol: who calls is known, and whatever is
// refused is answered with gRPC OK and a Status.

import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import type { handleUnaryCall } from '@grpc/grpc-js';
import type { Status } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { unary } from '@ternmq/runtime';
import { type Caller, callerOf } from './caller.ts';
import { failureStatus, okStatus } from './status.ts';

/** A response without its status, which is OK when there is none. */
type Answer<Schema extends DescMessage> = MessageInitShape<Schema> & { status?: Status };

/** @param handler answers a request, or throws Refused or a TernError */
export function answered<Request, Schema extends DescMessage>(
  schema: Schema,
  handler: (request: Request, caller: Caller) => Promise<Answer<Schema>> | Answer<Schema>,
): handleUnaryCall<Request, unknown> {
  return unary<Request, unknown>(async (request, context) => {
    try {
      const answer = await handler(request, callerOf(context));
      return create(schema, { ...answer, status: answer.status ?? okStatus() });
    } catch (error) {
      const refusal: { status: Status } = { status: failureStatus(error) };
      return create(schema, refusal as unknown as MessageInitShape<Schema>);
    }
  });
}
