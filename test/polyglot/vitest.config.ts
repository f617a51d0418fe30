import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['test/polyglot/**/*.test.ts'],
    pool: 'forks',
    // Each toolchain compiles with all cores.
    fileParallelism: false,
    testTimeout: 60_000,
    // The first run downloads and compiles.
    hookTimeout: 900_000,
  },
});
