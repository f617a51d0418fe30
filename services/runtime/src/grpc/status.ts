// Errors as they travel: the one table from codes to gRPC statuses, and the details that every status
// carries in the trailer `grpc-status-details-bin`: ErrorInfo with the reason, RetryInfo where trying again
// helps, BadRequest for fields.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { anyPack, anyUnpack, type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from '@ternmq/proto/gen/google/rpc/error_details_pb';
import { StatusSchema } from '@ternmq/proto/gen/google/rpc/status_pb';
import { AssertionFailed, type ErrorCode, stopProcess, TernError } from '../errors.ts';

/** Who defines the reasons in ErrorInfo. */
export const ERROR_DOMAIN = 'ternmq.dev';

/** The one table from error codes to gRPC status codes. */
export const GRPC_STATUS: Readonly<Record<ErrorCode, status>> = {
  CANCELLED: status.CANCELLED,
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  NOT_FOUND: status.NOT_FOUND,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  ABORTED: status.ABORTED,
  OUT_OF_RANGE: status.OUT_OF_RANGE,
  UNIMPLEMENTED: status.UNIMPLEMENTED,
  INTERNAL: status.INTERNAL,
  UNAVAILABLE: status.UNAVAILABLE,
  DATA_LOSS: status.DATA_LOSS,
};

const DETAILS_KEY = 'grpc-status-details-bin';

/** Longest text and most fields that are sent: trailers have to fit into the peer's header limit. */
const TEXT_LENGTH_MAX = 1024;
const FIELDS_MAX = 4;

/** The text cut to what may be sent, and without the half surrogate pairs that a hostile name may have. */
function fit(text: string): string {
  return text.slice(0, TEXT_LENGTH_MAX).toWellFormed();
}

/** The error as callers may see it: a TernError as it is, anything else as INTERNAL and nothing more. */
export function publicError(error: unknown): TernError {
  if (error instanceof TernError) return error;
  return new TernError(
    'INTERNAL',
    'INTERNAL',
    "This request met a fault of the server; the server's log says more.",
    { cause: error },
  );
}

/**
 * The gRPC status of an error, with details, in the shape that grpc-js callbacks and streams take. An error
 * that is no TernError becomes INTERNAL and shows nothing of itself. A failed assertion also stops the
 * process.
 */
export function statusOf(error: unknown): ServiceError {
  if (error instanceof AssertionFailed) stopProcess(error);
  const known = publicError(error);
  const code = GRPC_STATUS[known.code];
  const details = fit(known.message);
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, encodeDetails(known, code, details));
  return Object.assign(new Error(details), { code, details, metadata });
}

/**
 * The TernError that a call failed with, from its status. Without details, because the other end is no TernMQ or cannot be
 * reached, the reason is the code.
 */
export function errorOf(error: ServiceError): TernError {
  const code = codeOf(error.code);
  const details = error.metadata?.get(DETAILS_KEY)[0];
  if (!Buffer.isBuffer(details)) {
    return new TernError(code, code, error.details ?? error.message, { cause: error });
  }
  let reason: string = code;
  let metadata: Readonly<Record<string, string>> = {};
  let retryAfterMs: number | undefined;
  const { message, details: packed } = fromBinary(StatusSchema, details);
  for (const any of packed) {
    const info = anyUnpack(any, ErrorInfoSchema);
    if (info !== undefined) ({ reason, metadata } = info);
    const retryDelay = anyUnpack(any, RetryInfoSchema)?.retryDelay;
    if (retryDelay !== undefined) {
      retryAfterMs = Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6;
    }
  }
  const again = retryAfterMs === undefined ? {} : { retryAfterMs };
  return new TernError(code, reason, message, { metadata, ...again, cause: error });
}

function codeOf(code: status): ErrorCode {
  for (const [name, value] of Object.entries(GRPC_STATUS)) {
    if (value === code) return name as ErrorCode;
  }
  return 'INTERNAL';
}

/** Ends a server's stream with the status of an error. */
export function failStream(call: Pick<NodeJS.EventEmitter, 'emit'>, error: unknown): void {
  call.emit('error', statusOf(error));
}

function encodeDetails(error: TernError, code: status, message: string): Buffer {
  const info = create(ErrorInfoSchema, { reason: error.reason, domain: ERROR_DOMAIN });
  for (const [key, value] of Object.entries(error.metadata)) info.metadata[fit(key)] = fit(value);
  const details = [anyPack(ErrorInfoSchema, info)];
  if (error.retryAfterMs !== undefined) {
    const retryDelay = durationOf(error.retryAfterMs);
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  if (error.fieldViolations.length > 0) {
    const fieldViolations = error.fieldViolations
      .slice(0, FIELDS_MAX)
      .map(({ field, description }) => ({ field: fit(field), description: fit(description) }));
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  return Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, message, details })));
}

function durationOf(ms: number): Duration {
  const seconds = Math.floor(ms / 1000);
  const nanos = Math.round((ms - seconds * 1000) * 1e6);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos });
}
