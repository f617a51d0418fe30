// One stream per broker and name server.
//
//   opened -- registration --> registered -- heartbeat --> registered
//      |                           |-- leaving, replaced, refused, silent --> ended by the name server
//      +-- nothing for the         +-- stream ended or broken --> the broker is suspect
//          timeout: ended

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type RegisterBrokerRequest,
  type RegisterBrokerResponse,
  RegisterBrokerResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, failStream, TernError } from '@ternmq/runtime';
import type { Cluster, Membership } from '../routes/cluster.ts';

type Call = ServerDuplexStream<RegisterBrokerRequest, RegisterBrokerResponse>;

/** What brokers are told. */
export interface RegisterBrokerOptions {
  /** How often they shall report, in milliseconds. */
  readonly heartbeatIntervalMs: number;
  /** Silence after which they are removed, in milliseconds. */
  readonly timeoutMs: number;
}

/** Takes registrations and heartbeats. */
export class RegisterBroker {
  readonly #options: RegisterBrokerOptions;
  readonly #cluster: Cluster;
  readonly #clock: Clock;
  readonly #calls = new Set<Call>();

  constructor(options: RegisterBrokerOptions, cluster: Cluster, clock: Clock) {
    this.#options = options;
    this.#cluster = cluster;
    this.#clock = clock;
  }

  /** Ends all streams; the brokers are not suspect for that. */
  close(): void {
    const calls = [...this.#calls];
    this.#calls.clear();
    for (const call of calls) failStream(call, stopping());
  }

  /** The grpc-js handler. */
  readonly handler = (call: Call): void => {
    const answer = create(RegisterBrokerResponseSchema, this.#options);
    let membership: Membership | undefined;
    this.#calls.add(call);
    const impatience = this.#clock.setTimer(this.#options.timeoutMs, () => {
      if (membership === undefined) failStream(call, notRegistered());
    });

    const done = (): void => {
      impatience.cancel();
      if (!this.#calls.delete(call)) return;
      if (membership !== undefined) this.#cluster.disconnected(membership);
    };
    const fail = (error: unknown): void => {
      failStream(call, error);
      done();
    };

    call.on('data', ({ event }: RegisterBrokerRequest) => {
      if (!this.#calls.has(call)) return;
      const nowMs = this.#clock.monotonicMs();
      try {
        if (membership === undefined) {
          if (event.case !== 'registration') throw notRegistered();
          membership = this.#cluster.register(event.value, nowMs, fail);
        } else {
          if (event.case !== 'heartbeat') throw registeredTwice();
          if (!this.#cluster.heartbeat(membership, event.value, nowMs)) {
            call.end();
            return done();
          }
        }
      } catch (error) {
        return fail(error);
      }
      if (!call.write(answer)) {
        call.pause();
        call.once('drain', () => call.resume());
      }
    });
    call.on('end', () => {
      call.end();
      done();
    });
    call.on('close', done);
  };
}

function stopping(): TernError {
  return new TernError('UNAVAILABLE', 'SERVER_STOPPING', 'This name server is stopping.');
}

function notRegistered(): TernError {
  return new TernError(
    'INVALID_ARGUMENT',
    'NOT_REGISTERED',
    'The first message of the stream must be a registration.',
    { fields: [{ field: 'registration', description: 'must be set in the first message' }] },
  );
}

function registeredTwice(): TernError {
  return new TernError(
    'INVALID_ARGUMENT',
    'ALREADY_REGISTERED',
    'After the registration a stream carries heartbeats only; open another one to register again.',
    { fields: [{ field: 'heartbeat', description: 'must be set' }] },
  );
}
