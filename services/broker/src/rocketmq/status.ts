// Statuses of the protocol, from what went wrong. A call that fails for a reason of the protocol is answered with gRPC OK
// and a Status; its text begins with the code's name, since some clients look for it.

import { Code, CodeSchema, type Status } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { AssertionFailed, publicError, stopProcess, TernError } from '@ternmq/runtime';

/** A request that is refused for a reason of the protocol. */
export class Refused extends Error {
  readonly code: Code;

  /** @param message a sentence that tells the reader what to do */
  constructor(code: Code, message: string) {
    super(message);
    this.name = 'Refused';
    this.code = code;
  }
}

/** Codes of TernMQ's own reasons. */
const BY_REASON: Readonly<Record<string, Code>> = {
  TOPIC_NOT_FOUND: Code.TOPIC_NOT_FOUND,
  QUEUE_NOT_FOUND: Code.TOPIC_NOT_FOUND,
  GROUP_NOT_FOUND: Code.CONSUMER_GROUP_NOT_FOUND,
  INVALID_TOPIC: Code.ILLEGAL_TOPIC,
  INVALID_GROUP: Code.ILLEGAL_CONSUMER_GROUP,
  INVALID_TAG: Code.ILLEGAL_MESSAGE_TAG,
  INVALID_KEY: Code.ILLEGAL_MESSAGE_KEY,
  INVALID_ORDERING_KEY: Code.ILLEGAL_MESSAGE_GROUP,
  RESERVED_PROPERTY: Code.ILLEGAL_MESSAGE_PROPERTY_KEY,
  INVALID_PRODUCER_MESSAGE_ID: Code.ILLEGAL_MESSAGE_ID,
  INVALID_TAG_EXPRESSION: Code.ILLEGAL_FILTER_EXPRESSION,
  INVALID_SQL_EXPRESSION: Code.ILLEGAL_FILTER_EXPRESSION,
  INVALID_DELAY: Code.ILLEGAL_DELIVERY_TIME,
  DELAY_TOO_LONG: Code.ILLEGAL_DELIVERY_TIME,
  WRONG_MESSAGE_KIND: Code.MESSAGE_PROPERTY_CONFLICT_WITH_TYPE,
  ORDERING_KEY_REQUIRED: Code.MESSAGE_PROPERTY_CONFLICT_WITH_TYPE,
  BODY_EMPTY: Code.MESSAGE_BODY_EMPTY,
  BODY_TOO_LARGE: Code.MESSAGE_BODY_TOO_LARGE,
  PROPERTIES_TOO_LARGE: Code.MESSAGE_PROPERTIES_TOO_LARGE,
  NOT_ENOUGH_REPLICAS: Code.HA_NOT_AVAILABLE,
  LEASE_EXPIRED: Code.INVALID_RECEIPT_HANDLE,
  ALREADY_SETTLED: Code.INVALID_RECEIPT_HANDLE,
  NOT_DELIVERED: Code.INVALID_RECEIPT_HANDLE,
};

/** The status of a success. */
export function okStatus(): Status {
  return { $typeName: 'apache.rocketmq.v2.Status', code: Code.OK, message: 'OK' };
}

/** A status with its code's name in front of the text. */
export function statusWith(code: Code, message: string): Status {
  const name = CodeSchema.value[code]?.name ?? `${code}`;
  return {
    $typeName: 'apache.rocketmq.v2.Status',
    code,
    message: message === '' ? name : `${name}: ${message}`,
  };
}

/** The status of what a handler threw. A failed assertion also stops the process. */
export function failureStatus(error: unknown): Status {
  if (error instanceof AssertionFailed) stopProcess(error);
  if (error instanceof Refused) return statusWith(error.code, error.message);
  const known = error instanceof TernError ? error : publicError(error);
  return statusWith(codeOf(known), known.message);
}

function codeOf({ code, reason }: TernError): Code {
  const byReason = BY_REASON[reason];
  if (byReason !== undefined) return byReason;
  switch (code) {
    case 'INVALID_ARGUMENT':
      return Code.BAD_REQUEST;
    case 'NOT_FOUND':
      return Code.NOT_FOUND;
    case 'RESOURCE_EXHAUSTED':
      return Code.TOO_MANY_REQUESTS;
    case 'DEADLINE_EXCEEDED':
    case 'UNAVAILABLE':
      return Code.PROXY_TIMEOUT;
    case 'UNIMPLEMENTED':
      return Code.NOT_IMPLEMENTED;
    default:
      return Code.INTERNAL_SERVER_ERROR;
  }
}
