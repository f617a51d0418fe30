// From a gRPC status to the SDK's error.

import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { type ServiceError, status } from '@grpc/grpc-js';
import { ErrorInfoSchema } from '@ternmq/proto/gen/google/rpc/error_details_pb';
import { StatusSchema } from '@ternmq/proto/gen/google/rpc/status_pb';
import { isMqError, MqError } from '../errors.ts';

const DETAILS_KEY = 'grpc-status-details-bin';
const RETRYABLE = new Set([
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
  status.DEADLINE_EXCEEDED,
]);

/** The error of a call that failed. */
export function errorOf(error: ServiceError | Error): MqError {
  if (isMqError(error)) return error;
  if (!('code' in error) || typeof error.code !== 'number') {
    return new MqError('UNKNOWN', error.message, { cause: error });
  }
  // A connection that breaks, or a server that stops, is told as a fault of the call; it is none. What is cancelled on
  // this side is told by who cancels it.
  const broken =
    error.code === status.CANCELLED ||
    (error.code === status.INTERNAL && /RST_STREAM|Session closed/.test(error.message));
  const code = broken ? status.UNAVAILABLE : error.code;
  const name = status[code] ?? 'UNKNOWN';
  const info = errorInfo(error as ServiceError);
  const message = (error as ServiceError).details || error.message;
  return new MqError(info?.reason ?? name, message, {
    retryable: RETRYABLE.has(code),
    status: name,
    ...(info === undefined ? {} : { details: info.metadata }),
    cause: error,
  });
}

function errorInfo(
  error: ServiceError,
): { reason: string; metadata: Record<string, string> } | undefined {
  const [bytes] = error.metadata?.get(DETAILS_KEY) ?? [];
  if (!Buffer.isBuffer(bytes)) return undefined;
  try {
    for (const detail of fromBinary(StatusSchema, bytes).details) {
      const info = anyUnpack(detail, ErrorInfoSchema);
      if (info !== undefined) return { reason: info.reason, metadata: info.metadata };
    }
  } catch {
    // Details that cannot be read say nothing; the status does.
  }
  return undefined;
}
