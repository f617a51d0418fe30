// The gRPC server of every process: limits, health and reflection built in, and an orderly stop.
//
//   new -- add(...) --> listen() -- health.setServing(true) --> serving -- stop() --> stopped

import type { DescFile, DescService } from '@bufbuild/protobuf';
import {
  type handleUnaryCall,
  type Server,
  ServerCredentials,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type RawSides, serviceDefinition } from '@ternmq/proto';
import { file_google_rpc_error_details } from '@ternmq/proto/gen/google/rpc/error_details_pb';
import { Health as HealthService } from '@ternmq/proto/gen/grpc/health/v1/health_pb';
import { ServerReflection } from '@ternmq/proto/gen/grpc/reflection/v1/reflection_pb';
import { ServerReflection as ServerReflectionAlpha } from '@ternmq/proto/gen/grpc/reflection/v1alpha/reflection_pb';
import { formatAddress } from '../address.ts';
import { type Clock, systemClock } from '../clock.ts';
import { assert, TernError } from '../errors.ts';
import { Health } from './health.ts';
import { MixedPort, type TlsSettings } from './mixed-port.ts';
import { Reflection } from './reflection.ts';
import { createTunedServer, type TunedServer } from './tuned-server.ts';

const MEBIBYTE = 1024 * 1024;

/** Limits of a server; each has a default. */
export interface GrpcServerOptions {
  /** Largest message accepted, in bytes. Default: 9 MiB. */
  readonly receiveBytesMax?: number;
  /** Largest message sent, in bytes. Default: 64 MiB. */
  readonly sendBytesMax?: number;
  /** Calls in flight on one connection. Default: 1000. */
  readonly streamsMax?: number;
  /** Open connections; more are closed at once. Default: 10,000. */
  readonly connectionsMax?: number;
  /** HTTP/2 receive window of each stream and connection, in bytes. Default: 1 MiB. */
  readonly windowBytes?: number;
  /**
   * A connection that was silent so long is pinged, in milliseconds, and closed when it does not answer
   * within 20 s. Clients may ping as often as they like, also without calls. Default: 60,000.
   */
  readonly keepaliveMs?: number;
}

/** Told of every unary call that ended: its path, gRPC status code, and duration in milliseconds. */
export type UnaryObserver = (path: string, code: number, durationMs: number) => void;

/** What a server uses. */
export interface GrpcServerCollaborators {
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** For metrics. Default: nobody. */
  readonly observeUnary?: UnaryObserver;
}

/** Handlers by the method's name in lower camel case; a method without one answers UNIMPLEMENTED. */
export type Handlers = UntypedServiceImplementation;

/** A gRPC server with health and reflection. */
export class GrpcServer {
  readonly #tuned: TunedServer;
  readonly #clock: Clock;
  readonly #observeUnary: UnaryObserver | undefined;
  readonly #health = new Health();
  readonly #reflection = new Reflection();
  readonly #closing = new AbortController();
  readonly #connectionsMax: number;
  #mixed: MixedPort | undefined;
  readonly #handlers = new Map<DescService, Handlers>();
  #stopped: Promise<void> | undefined;

  constructor(options: GrpcServerOptions = {}, collaborators: GrpcServerCollaborators = {}) {
    this.#clock = collaborators.clock ?? systemClock;
    this.#observeUnary = collaborators.observeUnary;
    this.#connectionsMax = options.connectionsMax ?? 10_000;
    this.#tuned = createTunedServer(
      {
        'grpc.max_receive_message_length': options.receiveBytesMax ?? 9 * MEBIBYTE,
        'grpc.max_send_message_length': options.sendBytesMax ?? 64 * MEBIBYTE,
        'grpc.max_concurrent_streams': options.streamsMax ?? 1000,
        'grpc.keepalive_time_ms': options.keepaliveMs ?? 60_000,
        'grpc.keepalive_timeout_ms': 20_000,
        // Its bookkeeping costs a clock reading per message, and nobody reads it.
        'grpc.enable_channelz': 0,
      },
      {
        windowBytes: options.windowBytes ?? MEBIBYTE,
        connectionsMax: this.#connectionsMax,
      },
    );
    this.#addStandardServices();
  }

  /** Aborts when the server begins to stop; long streams should end then. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#tuned.sessions.size;
  }

  /**
   * Adds a service.
   *
   * @param handlers plain grpc-js handlers by the method's name in lower camel case
   * @param raw methods that carry bytes instead of objects
   */
  add(
    service: DescService,
    handlers: Handlers,
    raw: Readonly<Record<string, RawSides>> = {},
  ): void {
    for (const name of Object.keys(handlers)) {
      if (service.method[name] === undefined) {
        throw new Error(`${service.typeName} has no method ${name}`);
      }
    }
    this.#addService(service, handlers, raw);
    this.#health.add(service.typeName);
    this.#reflection.add(service);
  }

  /**
   * Replaces the handlers of a service, from one call to the next: those under way go on with the former ones.
   *
   * @param handlers as in `add`; the service was added before
   */
  replace(
    service: DescService,
    handlers: Handlers,
    raw: Readonly<Record<string, RawSides>> = {},
  ): void {
    this.#server.removeService(serviceDefinition(service, raw));
    this.#addService(service, handlers, raw);
  }

  /** The handlers that a service has now, for calls within the process (callInProcess). */
  handlers(service: DescService): Handlers {
    const handlers = this.#handlers.get(service);
    assert(handlers !== undefined, `${service.typeName} was added`);
    return handlers;
  }

  #addService(
    service: DescService,
    handlers: Handlers,
    raw: Readonly<Record<string, RawSides>>,
  ): void {
    const observed = this.#observed(service, handlers);
    this.#handlers.set(service, observed);
    this.#server.addService(serviceDefinition(service, raw), observed);
  }

  /**
   * Listens and returns the port.
   *
   * @param port 0 takes any free one
   * @param tls takes encrypted connections on the same port; without it there are none
   * @throws TernError FAILED_PRECONDITION with reason PORT_IN_USE or CANNOT_LISTEN
   */
  async listen(host: string, port: number, tls?: TlsSettings): Promise<number> {
    const address = formatAddress(host, port);
    if (tls !== undefined) {
      const mixed = new MixedPort(this.#server, tls, this.#connectionsMax, this.#clock);
      this.#mixed = mixed;
      return await mixed.listen(host, port).catch((error: Error) => {
        throw listenError(address, error);
      });
    }
    return await new Promise((resolve, reject) => {
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(listenError(address, error));
      });
    });
  }

  /** Says through the health service whether the server serves; at first it does not. */
  setServing(serving: boolean): void {
    this.#health.setServing(serving);
  }

  /**
   * Stops: says NOT_SERVING, accepts nothing new, waits until the calls in flight have ended, but at most so
   * many milliseconds, then breaks them off. Calling it again waits for the same stop.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  get #server(): Server {
    return this.#tuned.server;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#health.setServing(false);
    this.#closing.abort(
      new TernError('UNAVAILABLE', 'SERVER_STOPPING', 'This server is stopping; use another one.'),
    );
    this.#health.close();
    this.#mixed?.close();
    const closed = Array.from(
      this.#tuned.sessions,
      (session) => new Promise<void>((resolve) => session.once('close', resolve)),
    );
    const unbound = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    await new Promise<void>((resolve) => {
      const force = this.#clock.setTimer(graceMs, () => {
        // A session that Node has destroyed does not always say that it is closed: nobody waits for it any longer.
        for (const session of this.#tuned.sessions) session.destroy();
        this.#server.forceShutdown();
        resolve();
      });
      void Promise.all([unbound, ...closed]).then(() => {
        force.cancel();
        resolve();
      });
    });
  }

  #observed(service: DescService, handlers: Handlers): Handlers {
    const observe = this.#observeUnary;
    if (observe === undefined) return handlers;
    const wrapped: Record<string, UntypedHandleCall> = { ...handlers };
    for (const { methodKind, localName, name } of service.methods) {
      const handler = handlers[localName];
      if (methodKind !== 'unary' || handler === undefined) continue;
      wrapped[localName] = this.#timed(
        `/${service.typeName}/${name}`,
        handler as handleUnaryCall<unknown, unknown>,
        observe,
      );
    }
    return wrapped;
  }

  #timed(
    path: string,
    handler: handleUnaryCall<unknown, unknown>,
    observe: UnaryObserver,
  ): handleUnaryCall<unknown, unknown> {
    return (call, callback) => {
      const startMs = this.#clock.monotonicMs();
      handler(call, (error, ...answer) => {
        observe(path, error?.code ?? 0, this.#clock.monotonicMs() - startMs);
        callback(error, ...answer);
      });
    };
  }

  #addStandardServices(): void {
    this.add(HealthService, this.#health.handlers);
    const serverReflectionInfo = this.#reflection.handler as UntypedHandleCall;
    this.add(ServerReflection, { serverReflectionInfo });
    // The alpha version has the same bytes under another name: it is served with the messages of v1.
    const { serverReflectionInfo: method } = serviceDefinition(ServerReflection);
    const path = `/${ServerReflectionAlpha.typeName}/ServerReflectionInfo`;
    this.#server.addService(
      { serverReflectionInfo: { ...method, path } as typeof method & object },
      { serverReflectionInfo },
    );
    this.#health.add(ServerReflectionAlpha.typeName);
    this.#reflection.add(ServerReflectionAlpha);
    // Not part of any service, but tools that show a rich error need it.
    this.#reflection.addFile(file_google_rpc_error_details as DescFile);
  }
}

function listenError(address: string, cause: Error): TernError {
  return cause.message.includes('EADDRINUSE')
    ? new TernError(
        'FAILED_PRECONDITION',
        'PORT_IN_USE',
        `Another process listens on ${address}; stop it or choose another port.`,
        { cause },
      )
    : new TernError(
        'FAILED_PRECONDITION',
        'CANNOT_LISTEN',
        `Cannot listen on ${address}: ${cause.message}`,
        { cause },
      );
}
