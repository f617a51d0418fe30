// The HTTP page for machines that watch this process: /metrics, /healthz (it lives) and /readyz (clients
// can use it).

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { formatAddress } from './address.ts';
import { TernError } from './errors.ts';
import type { Registry } from './metrics.ts';

/** Where the page is. */
export interface MonitoringOptions {
  /** Address to listen on, for example `0.0.0.0`. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

/** What the page shows. */
export interface MonitoringSources {
  readonly registry: Registry;
  /** Why clients cannot use this process now, one sentence each; empty when they can. */
  readonly notReady: () => readonly string[];
}

/** The page, listening. */
export class Monitoring {
  /** The port that it listens on. */
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** Listens. Throws TernError FAILED_PRECONDITION with reason CANNOT_LISTEN. */
  static async listen(options: MonitoringOptions, sources: MonitoringSources): Promise<Monitoring> {
    const server = createServer({ requestTimeout: 10_000, keepAliveTimeout: 65_000 });
    server.maxConnections = 256;
    server.on('request', (request, response) => {
      // A request has no body here; what comes nevertheless is read and dropped.
      request.resume();
      const [path = ''] = (request.url ?? '').split('?', 1);
      const readOnly = request.method === 'GET' || request.method === 'HEAD';
      const answer = ([status, body, type = 'text/plain; charset=utf-8']: Page): void => {
        response.writeHead(status, { 'content-type': type, allow: 'GET, HEAD' }).end(body);
      };
      if (!readOnly) answer([405, 'Only GET and HEAD are answered here.\n']);
      else page(path, sources).then(answer, () => answer([500, 'This failed; try again.\n']));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(listenError(options, cause)));
      server.listen(options.port, options.host, resolve);
    });
    return new Monitoring(server);
  }

  /** Stops listening and breaks off open requests. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

type Page = readonly [status: number, body: string, type?: string];

async function page(path: string, { registry, notReady }: MonitoringSources): Promise<Page> {
  switch (path) {
    case '/metrics':
      return [200, await registry.show(), 'text/plain; version=0.0.4; charset=utf-8'];
    case '/healthz':
      return [200, 'alive\n'];
    case '/readyz': {
      const reasons = notReady();
      return reasons.length === 0 ? [200, 'ready\n'] : [503, `${reasons.join('\n')}\n`];
    }
    default:
      return [404, 'Here are /metrics, /healthz and /readyz.\n'];
  }
}

function listenError({ host, port }: MonitoringOptions, cause: NodeJS.ErrnoException): TernError {
  const address = formatAddress(host, port);
  return new TernError(
    'FAILED_PRECONDITION',
    'CANNOT_LISTEN',
    cause.code === 'EADDRINUSE'
      ? `Another process listens on ${address}; stop it or choose another port.`
      : `Cannot listen on ${address}: ${cause.message}`,
    { cause },
  );
}
