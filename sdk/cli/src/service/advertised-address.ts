// The address that a broker registers, and whether clients can reach it. A wrong one is the commonest trap: the
// broker runs, and clients hang.

import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { type Logger, parseAddress } from '@ternmq/runtime';

const CONNECT_MS_MAX = 1000;
const SETTING = '--advertise or TERN_ADVERTISE';

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** Does a service that listens on this host listen on all addresses of the machine? */
export function listensOnAll(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** The host by which this process itself reaches a service that listens on `host`. */
export function ownHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/**
 * What a broker tells clients to connect to: what was set, else where it listens, else, when that is everywhere,
 * the machine's first address that others can reach.
 */
export function advertisedHost(
  { host, advertise }: { readonly host: string; readonly advertise: string | undefined },
  logger: Logger,
  interfaces: Interfaces = networkInterfaces(),
): string {
  if (advertise !== undefined) return advertise;
  if (!listensOnAll(host)) return host;
  const outer = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .find(({ internal, family }) => !internal && (family === 'IPv4' || host === '::'));
  const chosen = outer?.address ?? ownHost(host);
  logger.warn(
    { host, advertise: chosen },
    `listening on ${host}, clients are told to connect to ${chosen}; if they cannot reach that, set ${SETTING} ` +
      'to a name or address that they can',
  );
  return chosen;
}

/** Why an address cannot be connected to from this machine; undefined when it can. */
export async function whyUnreachable(address: string): Promise<string | undefined> {
  const parsed = parseAddress(address);
  if (parsed === undefined) return 'it is no host:port';
  const { host, port } = parsed;
  const resolved = await lookup(host).catch(() => undefined);
  if (resolved === undefined) return `the host name ${host} does not resolve`;
  return new Promise((resolve) => {
    const socket = connect({ host: resolved.address, port });
    const end = (why: string | undefined): void => {
      socket.destroy();
      resolve(why);
    };
    socket.setTimeout(CONNECT_MS_MAX, () => end(`no answer within ${CONNECT_MS_MAX} ms`));
    socket.once('connect', () => end(undefined));
    socket.once('error', (error) => end(error.message));
  });
}

/** Warns when the address that clients are told does not work from here. */
export async function checkAdvertised(address: string, logger: Logger): Promise<void> {
  const why = await whyUnreachable(address);
  if (why === undefined) return;
  logger.warn(
    { address, why },
    `clients are told to connect to ${address}, which does not work from this machine: ${why}. ` +
      `Set ${SETTING} to a name or address at which clients reach this broker`,
  );
}
