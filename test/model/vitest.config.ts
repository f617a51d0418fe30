import { defineConfig } from 'vitest/config';

// The model test at length: `npm run test:model`. MODEL_RUNS of the environment says how many lives.
export default defineConfig({
  root: new URL('../..', import.meta.url).pathname,
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['test/model/**/*.test.ts'],
    pool: 'forks',
    env: { MODEL_RUNS: process.env.MODEL_RUNS ?? '3000' },
  },
});
