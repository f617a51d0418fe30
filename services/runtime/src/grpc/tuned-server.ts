// A grpc-js server with larger receive windows and a hold on its connections.
//
// grpc-js has no server option for HTTP/2 windows (`grpc-node.flow_control_window` works in clients only),
// so uploads run with Node's 64 KiB: measured, 1 MiB windows more than double the produce rate. Nor can it
// bound connections. Both hang on two members that grpc-js keeps to itself: `commonServerOptions`, which
// every HTTP/2 server is made with, and `createHttp2Server`, which makes it. A version of grpc-js that does
// not have them is refused at start rather than silently slow.

import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session, Settings } from 'node:http2';
import { Server, type ServerCredentials, type ServerOptions } from '@grpc/grpc-js';

interface Internals {
  commonServerOptions?: { settings?: Settings };
  createHttp2Server?: (credentials: ServerCredentials) => Http2Server;
}

/** What grpc-js does not offer. */
export interface Tuning {
  /** HTTP/2 receive window of each stream and of each connection, in bytes. */
  readonly windowBytes: number;
  /** Connections that may be open at the same time; more are closed at once. */
  readonly connectionsMax: number;
}

/** A grpc-js server, and its connections. */
export interface TunedServer {
  readonly server: Server;
  /** Connections that are open. */
  readonly sessions: ReadonlySet<ServerHttp2Session>;
}

/** Milliseconds in the units of `grpc-timeout`. */
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** The longest that Node's timers can hold. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Drops a deadline that is further off than a timer can hold: grpc-js would take it for over at once. Clients of RocketMQ for
 * Java open streams with a deadline of a year.
 */
function dropFarDeadline(headers: IncomingHttpHeaders): void {
  const timeout = headers['grpc-timeout'];
  const [, digits = '0', unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(String(timeout)) ?? [];
  if (Number(digits) * (UNIT_MS[unit] ?? 0) > TIMER_MS_MAX) delete headers['grpc-timeout'];
}

/** Makes the server. Throws when grpc-js is not as expected. */
export function createTunedServer(options: ServerOptions, tuning: Tuning): TunedServer {
  const server = new Server(options);
  const internals = server as unknown as Internals;
  const createHttp2Server = internals.createHttp2Server;
  if (typeof internals.commonServerOptions !== 'object' || createHttp2Server === undefined) {
    throw new Error(
      'This version of @grpc/grpc-js is not the one that TernMQ was built for; install the version that its package.json names.',
    );
  }
  internals.commonServerOptions.settings = {
    ...internals.commonServerOptions.settings,
    initialWindowSize: tuning.windowBytes,
  };
  const sessions = new Set<ServerHttp2Session>();
  internals.createHttp2Server = (credentials) => {
    const http2Server = createHttp2Server.call(server, credentials);
    http2Server.maxConnections = tuning.connectionsMax;
    http2Server.on('session', (session) => {
      session.setLocalWindowSize(tuning.windowBytes);
      // Before grpc-js sees it.
      session.prependListener('stream', (_stream, headers) => dropFarDeadline(headers));
      sessions.add(session);
      session.once('close', () => sessions.delete(session));
    });
    return http2Server;
  };
  return { server, sessions };
}
