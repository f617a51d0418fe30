// The errors of the SDK: one class, a stable code each.
//
//   made by the SDK:      CLOSED, ABORTED, DEADLINE_EXCEEDED, OUTCOME_UNKNOWN, ALREADY_STORED,
//                         NAMESERVER_UNREACHABLE, BROKER_UNREACHABLE, NO_BROKER, QUEUE_NOT_FOUND, PARTIAL, ALREADY_RUNNING,
//                         HANDLER_FAILED, NOTHING_ASSIGNED, QUEUE_NOT_ASSIGNED, MALFORMED_RESPONSE,
//                         INVALID_OPTION, NO_REPLY_WANTED, BODY_DAMAGED, BODY_ENCODING_UNKNOWN, UNKNOWN
//   made by the servers:  the reason of the call's or the frame's error, for example TOPIC_NOT_FOUND,
//                         BODY_TOO_LARGE, DISK_FULL, LEASE_EXPIRED; else the gRPC status' name

/** What is known of an error beside its sentence. */
export interface MqErrorOptions {
  /** Trying again may help. Default: false. */
  readonly retryable?: boolean;
  /** Name of the gRPC status, when a server answered, for example `NOT_FOUND`. */
  readonly status?: string;
  /** Facts that the server gave, for example the valid range of offsets. */
  readonly details?: Readonly<Record<string, string>>;
  /** What led to it. */
  readonly cause?: unknown;
}

/** An error of the SDK or of a server. */
export class MqError extends Error {
  /** Stable name of the cause; compare this. */
  readonly code: string;
  /** Trying again may help. */
  readonly retryable: boolean;
  /** Name of the gRPC status, when a server answered. */
  readonly status: string | undefined;
  /** Facts that the server gave. */
  readonly details: Readonly<Record<string, string>>;

  /** @param message a sentence that says what to do */
  constructor(code: string, message: string, options: MqErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MqError';
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.status = options.status;
    this.details = options.details ?? {};
  }
}

/** Is this an MqError, of this code if one is given? Works across copies of the package. */
export function isMqError(error: unknown, code?: string): error is MqError {
  return (
    error instanceof Error &&
    error.name === 'MqError' &&
    'code' in error &&
    (code === undefined || error.code === code)
  );
}

/** The error of something that was closed. */
export function closedError(what: string): MqError {
  return new MqError('CLOSED', `the ${what} is closed; make a new one`);
}

/** The error of a call whose signal has aborted. */
export function abortedError(signal: AbortSignal): MqError {
  return new MqError('ABORTED', 'the call was aborted by its signal', { cause: signal.reason });
}

/** The error of what was to be sent to a broker that does not answer. */
export function brokerUnreachable(address: string, cause: MqError | undefined): MqError {
  return new MqError(
    'BROKER_UNREACHABLE',
    `broker ${address} cannot be reached: check that it runs, and that its --advertise is an address ` +
      'that this client can reach',
    { retryable: true, ...(cause === undefined ? {} : { cause }) },
  );
}

/** The error of a call that any broker could carry out, when there is none. */
export function noBroker(): MqError {
  return new MqError('NO_BROKER', 'no broker is registered with the name server; start one', {
    retryable: true,
  });
}

/** The error of a message whose topic is at no broker that takes messages. */
export function noMaster(topic: string): MqError {
  return new MqError(
    'NO_BROKER',
    `no broker takes messages of topic ${topic} now; start the master of one of its broker groups`,
    { retryable: true },
  );
}
