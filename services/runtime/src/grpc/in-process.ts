// Calls a handler of this process as a client would: same request, same answer, same errors, without a network.

import { EventEmitter } from 'node:events';
import {
  type handleUnaryCall,
  Metadata,
  type ServerUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';

/** Who calls, and for how long. */
export interface InProcessCaller {
  /** Where the call came from, as the handler shall see it. */
  readonly peer: string;
  /** When the caller stops waiting, in wall milliseconds; Infinity for never. */
  readonly deadlineMs: number;
  /** Aborts when the caller does not wait any more. */
  readonly signal?: AbortSignal | undefined;
}

/** What a handler sees of such a call. */
class InProcessCall<Request> extends EventEmitter {
  readonly request: Request;
  readonly metadata = new Metadata();
  cancelled = false;
  readonly #caller: InProcessCaller;

  constructor(request: Request, caller: InProcessCaller) {
    super();
    this.request = request;
    this.#caller = caller;
  }

  getPeer(): string {
    return this.#caller.peer;
  }

  getDeadline(): number {
    return this.#caller.deadlineMs;
  }

  cancel(): void {
    this.cancelled = true;
    this.emit('cancelled');
  }
}

/** Calls a unary handler. Rejects with what the handler answers: a ServiceError. */
export function callInProcess<Request, Response>(
  handler: handleUnaryCall<Request, Response>,
  request: Request,
  caller: InProcessCaller,
): Promise<Response> {
  const { signal } = caller;
  const call = new InProcessCall(request, caller);
  const cancel = (): void => call.cancel();
  if (signal?.aborted) call.cancelled = true;
  else signal?.addEventListener('abort', cancel, { once: true });
  return new Promise<Response>((resolve, reject) => {
    handler(call as unknown as ServerUnaryCall<Request, Response>, (error, response) => {
      signal?.removeEventListener('abort', cancel);
      if (error === null || error === undefined) resolve(response as Response);
      else reject(error as ServiceError);
    });
  });
}
