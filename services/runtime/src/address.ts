// Network addresses as people write them.

import { isIPv6 } from 'node:net';

/** A host and a port. */
export interface Address {
  /** Name or IP address, an IPv6 address without brackets. */
  readonly host: string;
  /** From 0 (any free port, only for listening) to 65535. */
  readonly port: number;
}

const BRACKETED = /^\[([^\]]{2,80})\]:(\d{1,5})$/;
const PLAIN = /^([a-zA-Z0-9._-]{1,253}):(\d{1,5})$/;

/** Reads `host:port` or `[IPv6]:port`; undefined when the text is neither. */
export function parseAddress(text: string): Address | undefined {
  const bracketed = BRACKETED.exec(text);
  const match = bracketed ?? PLAIN.exec(text);
  if (match === null) return undefined;
  const [, host = '', port = ''] = match;
  if (bracketed !== null && !isIPv6(host)) return undefined;
  return Number(port) > 65535 ? undefined : { host, port: Number(port) };
}

/** Writes an address so that parseAddress reads it. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
