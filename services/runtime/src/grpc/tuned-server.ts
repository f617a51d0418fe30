// A grpc-js server with larger receive windows and a hold on its connections.
//
// grpc-js has no server option for HTTP/2 windows (`grpc-node.flow_control_window` works in clients only),
// so uploads run with Node's 64 KiB: measured, 1 MiB windows more than double the produce rate. Nor can it
// bound connections. Both hang on two members that grpc-js keeps to itself: `commonServerOptions`, which
// every HTTP/2 server is made with, and `createHttp2Server`, which makes it. A version of grpc-js that does
// not have them is refused at start rather than silently slow.

import type { Http2Server, ServerHttp2Session, Settings } from 'node:http2';
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
      sessions.add(session);
      session.once('close', () => sessions.delete(session));
    });
    return http2Server;
  };
  return { server, sessions };
}
