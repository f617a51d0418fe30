import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['test/deploy/**/*.test.ts'],
    pool: 'forks',
    globalSetup: ['test/deploy/build-image.ts'],
    testTimeout: 120_000,
    // The first run downloads.
    hookTimeout: 300_000,
  },
});
