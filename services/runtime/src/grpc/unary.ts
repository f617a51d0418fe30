// Turns an asynchronous function into a grpc-js handler of a unary method.

import type { handleUnaryCall, Metadata, ServerUnaryCall } from '@grpc/grpc-js';
import { TernError } from '../errors.ts';
import { statusOf } from './status.ts';

/** What a unary handler may know of its call. */
export interface UnaryContext {
  /** Aborts with a TernError when the caller goes away or its deadline passes. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, in wall milliseconds; Infinity when it did not say. */
  readonly deadlineMs: number;
  /** The caller's address, for logs. */
  readonly peer: string;
  /** What the caller sent beside the request. */
  readonly metadata: Metadata;
}

class CallContext implements UnaryContext {
  readonly #call: ServerUnaryCall<unknown, unknown>;
  #abort: AbortController | undefined;

  constructor(call: ServerUnaryCall<unknown, unknown>) {
    this.#call = call;
  }

  // Made on first use: most handlers finish without looking at it.
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#call.cancelled) this.#cancel();
      else this.#call.once('cancelled', () => this.#cancel());
    }
    return this.#abort.signal;
  }

  get deadlineMs(): number {
    return Number(this.#call.getDeadline());
  }

  get peer(): string {
    return this.#call.getPeer();
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  #cancel(): void {
    this.#abort?.abort(
      new TernError(
        'CANCELLED',
        'CALL_CANCELLED',
        'The caller does not wait for the answer any more.',
      ),
    );
  }
}

/**
 * A grpc-js handler from an asynchronous function. What the function throws becomes the call's status (see
 * statusOf). The answer to a caller that went away is dropped.
 *
 * @param handler answers a request, or throws a TernError
 */
export function unary<Request, Response>(
  handler: (request: Request, context: UnaryContext) => Promise<Response> | Response,
): handleUnaryCall<Request, Response> {
  return async (call, callback) => {
    let response: Response;
    try {
      response = await handler(call.request, new CallContext(call));
    } catch (error) {
      callback(statusOf(error));
      return;
    }
    callback(null, response);
  };
}
