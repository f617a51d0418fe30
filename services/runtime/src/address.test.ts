import { expect, test } from 'vitest';
import { formatAddress, parseAddress } from './address.ts';

test('reads host names, IPv4 and bracketed IPv6 addresses, and writes them back', () => {
  for (const text of [
    'localhost:1',
    'mq-1.example:65535',
    '127.0.0.1:0',
    '[::1]:9876',
    '[fe80::1%eth0]:80',
  ]) {
    const address = parseAddress(text);
    expect(address, text).toBeDefined();
    if (address !== undefined) expect(formatAddress(address.host, address.port)).toBe(text);
  }
});

test('refuses everything else', () => {
  for (const text of [
    '',
    'host',
    ':1',
    'host:',
    'host:65536',
    'host:1x',
    '::1:80',
    'a b:1',
    'http://h:1',
    'h:1/x',
    `${'a'.repeat(254)}:1`,
  ]) {
    expect(parseAddress(text), text).toBeUndefined();
  }
});
