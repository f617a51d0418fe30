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

/** What a handler sees of such a call. The caller's signal is looked at only when the handler asks for it. */
class InProcessCall<Request> extends EventEmitter {
  readonly request: Request;
  readonly metadata = new Metadata();
  readonly #caller: InProcessCaller;

  constructor(request: Request, caller: InProcessCaller) {
    super();
    this.request = request;
    this.#caller = caller;
  }

  get cancelled(): boolean {
    return this.#caller.signal?.aborted ?? false;
  }

  override once(event: string, listener: () => void): this {
    if (event !== 'cancelled') return super.once(event, listener);
    this.#caller.signal?.addEventListener('abort', () => listener(), { once: true });
    return this;
  }

  getPeer(): string {
    return this.#caller.peer;
  }

  getDeadline(): number {
    return this.#caller.deadlineMs;
  }
}

/** Calls a unary handler. Rejects with what the handler answers: a ServiceError. */
export function callInProcess<Request, Response>(
  handler: handleUnaryCall<Request, Response>,
  request: Request,
  caller: InProcessCaller,
): Promise<Response> {
  const call = new InProcessCall(request, caller);
  return new Promise<Response>((resolve, reject) => {
    handler(call as unknown as ServerUnaryCall<Request, Response>, (error, response) => {
      if (error === null || error === undefined) resolve(response as Response);
      else reject(error as ServiceError);
    });
  });
}
