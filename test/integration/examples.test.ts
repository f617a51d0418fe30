import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';

const FOLDER = join(import.meta.dirname, '../../sdk/typescript/examples');

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start();
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** What each example prints at least. */
const PRINTS: Readonly<Record<string, RegExp>> = {
  'async-send.ts': /message 9: offset \d+/,
  'one-way.ts': /sent 100 messages one-way/,
  'pull-group.ts': /queue \d offset \d+: row \d\n4 queues go to others/,
  'pull.ts': /queue \d goes on at \d+/,
  'push-broadcasting.ts': /cache-2: price 4/,
  'push-clustering.ts': /member: order 9 \(attempt 1\)/,
  'sync-batch.ts': /stored [0-9a-f]{32} in queue \d at offset \d+/,
};

describe('the example', () => {
  test.each(readdirSync(FOLDER).sort())(
    '%s runs to its end and prints what it did',
    async (file) => {
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        ['--conditions=source', join(FOLDER, file)],
        { env: { ...process.env, TERN_NAMESERVER: cluster.nameservers }, timeout: 15_000 },
      );
      expect(stdout).toMatch(PRINTS[file] ?? /(?!)/);
      expect(stderr).toBe('');
    },
  );
});
