// The two kinds of errors. Expected failures are TernErrors: a code, a stable reason, a sentence for the
// reader and a cause; grpc/status.ts turns them into gRPC statuses. Impossible states are AssertionFailed:
// a bug or corrupt memory, after which the process must stop rather than spread it.

/** What kind of failure it is; the names and the meaning are those of gRPC. */
export type ErrorCode =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS';

/** A field of a request that is wrong. */
export interface FieldViolation {
  /** Path of the field, for example `broker.address`. */
  readonly field: string;
  /** What is wrong with it and what it should be. */
  readonly description: string;
}

/** More about an error. */
export interface TernErrorOptions {
  /** Facts for programs, for example the topic's name. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Trying again helps, after so many milliseconds. */
  readonly retryAfterMs?: number;
  /** Fields of the request that are wrong. */
  readonly fields?: readonly FieldViolation[];
  /** What led to it; stays in the process. */
  readonly cause?: unknown;
}

/** An expected failure. */
export class TernError extends Error {
  /** What kind of failure it is. */
  readonly code: ErrorCode;
  /** The cause in a stable form that programs compare: UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** Facts for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Trying again helps, after so many milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** Fields of the request that are wrong. */
  readonly fieldViolations: readonly FieldViolation[];

  /** @param message a sentence that tells the reader what to do */
  constructor(code: ErrorCode, reason: string, message: string, options: TernErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TernError';
    this.code = code;
    this.reason = reason;
    this.metadata = options.metadata ?? {};
    this.retryAfterMs = options.retryAfterMs;
    this.fieldViolations = options.fields ?? [];
  }
}

/** A state that cannot be; the process must stop. */
export class AssertionFailed extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'AssertionFailed';
  }
}

/**
 * States what must be true.
 *
 * @throws AssertionFailed when it is not
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}

/**
 * Ends the process by the way of an uncaught exception. For places that answer every error, such as a
 * request handler, and must not answer a failed assertion and go on.
 */
export function stopProcess(error: AssertionFailed): void {
  process.nextTick(() => {
    throw error;
  });
}
