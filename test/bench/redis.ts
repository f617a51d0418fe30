// Redis Streams beside us, at the same durability, loaded by its own C loader.

import { spawnSync } from 'node:child_process';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/free-ports.ts';
import { TempDir } from '../support/temp-dir.ts';

const CONNECTIONS = 50;
const MESSAGES = 300_000;
const LOAD_MS_MAX = 120_000;

/** Is redis-server installed here? */
export function hasRedis(): boolean {
  return spawnSync('redis-server', ['--version']).status === 0;
}

/** Messages per second that Redis takes with XADD. */
export async function redisRate(
  size: number,
  options: { appendfsync: 'always' | 'everysec'; pipeline: number },
): Promise<number> {
  await using folder = await TempDir.create('redis');
  const [port = 0] = await freePorts(1);
  await using server = new Child('redis-server', [
    ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder.path, '--save', ''],
    ...['--appendonly', 'yes', '--appendfsync', options.appendfsync],
  ]);
  await eventually(
    'redis answers',
    () => {
      if (server.exit !== undefined) throw new Error(server.stderr);
      const { stdout } = spawnSync('redis-cli', ['-p', `${port}`, 'ping']);
      return String(stdout).trim() === 'PONG' ? true : undefined;
    },
    { withinMs: 10_000 },
  );
  const { stdout, status } = spawnSync(
    'redis-benchmark',
    [
      ...[
        '-p',
        `${port}`,
        '-n',
        `${MESSAGES}`,
        '-c',
        `${CONNECTIONS}`,
        '-P',
        `${options.pipeline}`,
      ],
      ...['--csv', 'XADD', 's', '*', 'f', 'x'.repeat(size)],
    ],
    { timeout: LOAD_MS_MAX },
  );
  const rate = /^"XADD[^"]*","?([\d.]+)/m.exec(String(stdout))?.[1];
  if (status !== 0 || rate === undefined) throw new Error(`redis-benchmark failed: ${stdout}`);
  return Number(rate);
}
