// The standard health service: `""` for the whole server and each service by its name.
//
//   NOT_SERVING -- setServing(true) --> SERVING -- setServing(false) --> NOT_SERVING
//
// All services of a server share one state: it recovers, serves and stops as a whole.

import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '@ternmq/proto/gen/grpc/health/v1/health_pb';
import { TernError } from '../errors.ts';
import { failStream } from './status.ts';
import { unary } from './unary.ts';

type Watch = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** Streams that may watch at the same time. */
const WATCHES_MAX = 1000;

/** The state of a server's services. */
export class Health {
  readonly #services = new Set(['']);
  readonly #watches = new Set<Watch>();
  #serving = false;

  /** Makes a service known by its full name. */
  add(service: string): void {
    this.#services.add(service);
  }

  /** Says to all who ask or watch whether the server serves. */
  setServing(serving: boolean): void {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const watch of this.#watches) watch.write(this.#answer(watch.request.service));
  }

  /** Ends the streams that watch. */
  close(): void {
    for (const watch of this.#watches) watch.end();
  }

  /** The handlers of `grpc.health.v1.Health`. */
  readonly handlers: UntypedServiceImplementation = {
    check: unary((request: HealthCheckRequest) => {
      if (!this.#services.has(request.service)) {
        throw new TernError(
          'NOT_FOUND',
          'SERVICE_NOT_FOUND',
          'This server has no service of that name; ask for its services by reflection.',
        );
      }
      return this.#answer(request.service);
    }),

    watch: (call: Watch) => {
      if (this.#watches.size >= WATCHES_MAX) {
        const message = `${WATCHES_MAX} clients watch this server's health already; use Check instead.`;
        return failStream(call, new TernError('RESOURCE_EXHAUSTED', 'TOO_MANY_WATCHES', message));
      }
      this.#watches.add(call);
      call.on('close', () => this.#watches.delete(call));
      call.write(this.#answer(call.request.service));
    },
  };

  #answer(service: string): HealthCheckResponse {
    const known = this.#serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    const status = this.#services.has(service) ? known : ServingStatus.SERVICE_UNKNOWN;
    return create(HealthCheckResponseSchema, { status });
  }
}
