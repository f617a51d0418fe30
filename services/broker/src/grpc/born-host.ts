// Where a message came from, as the log keeps it: 16 bytes, IPv6, or IPv4 mapped into it.

import { isIPv4, isIPv6 } from 'node:net';
import { NO_HOST } from '../state/message-record.ts';

const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');

/** The address in what grpc-js tells of a peer: `1.2.3.4:5` or `[::1]:5`; all zero when it is neither. */
export function bornHostOf(peer: string): Buffer {
  const host = peer
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
    .replace(/%.*$/, '');
  if (isIPv4(host)) return Buffer.concat([MAPPED_PREFIX, Buffer.from(host.split('.').map(Number))]);
  return isIPv6(host) ? ipv6Bytes(host) : NO_HOST;
}

function ipv6Bytes(host: string): Buffer {
  const mapped = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (mapped !== null) {
    const [, prefix, ...digits] = mapped;
    const [a = 0, b = 0, c = 0, d = 0] = digits.map(Number);
    return ipv6Bytes(`${prefix}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`);
  }
  const [left = '', right] = host.split('::');
  const words = (text: string | undefined): number[] =>
    text === undefined || text === ''
      ? []
      : text.split(':').map((word) => Number.parseInt(word, 16));
  const head = words(left);
  const tail = words(right);
  const zeros = right === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  const bytes = Buffer.alloc(16);
  for (const [i, word] of [...head, ...Array<number>(zeros).fill(0), ...tail]
    .slice(0, 8)
    .entries()) {
    bytes.writeUInt16BE(word & 0xffff, 2 * i);
  }
  return bytes;
}

/** Such an address for people; empty when it is not known. */
export function hostText(host: Buffer): string {
  if (host.equals(NO_HOST)) return '';
  if (host.subarray(0, MAPPED_PREFIX.length).equals(MAPPED_PREFIX)) {
    return host.subarray(MAPPED_PREFIX.length).join('.');
  }
  const words = Array.from({ length: 8 }, (_, i) => host.readUInt16BE(2 * i).toString(16));
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}
