import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['test/packages/**/*.test.ts'],
    pool: 'forks',
    // Building and installing take the whole machine.
    fileParallelism: false,
    testTimeout: 60_000,
    // The first run downloads.
    hookTimeout: 900_000,
  },
});
