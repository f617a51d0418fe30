import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { createLogger } from '@ternmq/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { advertisedHost, checkAdvertised, whyUnreachable } from './advertised-address.ts';

let lines: string[] = [];
beforeEach(() => {
  lines = [];
});
const logger = createLogger({
  format: 'json',
  destination: {
    write(line) {
      lines.push(line);
    },
  },
});

function ipv4(address: string, internal: boolean): NetworkInterfaceInfo {
  return { address, internal, family: 'IPv4', netmask: '', mac: '', cidr: null };
}

describe('the host that clients are told', () => {
  const interfaces = { lo: [ipv4('127.0.0.1', true)], eth0: [ipv4('10.1.2.3', false)] };

  test('is what was set', () => {
    const options = { host: '0.0.0.0', advertise: 'mq.example.com' };
    expect(advertisedHost(options, logger, interfaces)).toBe('mq.example.com');
    expect(lines).toEqual([]);
  });

  test('is where the broker listens', () => {
    const options = { host: '10.9.9.9', advertise: undefined };
    expect(advertisedHost(options, logger, interfaces)).toBe('10.9.9.9');
    expect(lines).toEqual([]);
  });

  test('is the first outer address when it listens on all, with a warning that names the setting', () => {
    const options = { host: '0.0.0.0', advertise: undefined };
    expect(advertisedHost(options, logger, interfaces)).toBe('10.1.2.3');
    expect(lines.join()).toMatch(/10\.1\.2\.3.*--advertise or TERN_ADVERTISE/);
  });

  test('is the machine itself when it has no outer address', () => {
    const options = { host: '0.0.0.0', advertise: undefined };
    expect(advertisedHost(options, logger, { lo: [ipv4('127.0.0.1', true)] })).toBe('127.0.0.1');
  });
});

describe('an address', () => {
  test('that answers is fine', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    expect(await whyUnreachable(`127.0.0.1:${port}`)).toBeUndefined();
    await checkAdvertised(`127.0.0.1:${port}`, logger);
    expect(lines).toEqual([]);
    await new Promise((resolve) => server.close(resolve));
    expect(await whyUnreachable(`127.0.0.1:${port}`)).toMatch(/ECONNREFUSED/);
  });

  test('that does not resolve is warned of, with the setting that mends it', async () => {
    await checkAdvertised('no-such-host.invalid:10911', logger);
    expect(lines.join()).toMatch(/no-such-host\.invalid does not resolve.*--advertise/);
  });
});
