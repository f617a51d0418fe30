// A short run of `npm run test:crash`.

import { expect, test } from 'vitest';
import { crashRounds } from '../crash/rounds.ts';
import { seedFor } from '../support/seed.ts';

// Other tests run on the same cores meanwhile; alone it is below 2 s, as test/crash demands.
const RESTART_MS_MAX = 5000;

test.each(['sync', 'async'] as const)(
  'a broker killed three times under load with %s flush loses nothing that it acknowledged',
  { timeout: 180_000 },
  async (flush) => {
    const { restartMs } = await crashRounds({
      flush,
      rounds: 3,
      seed: seedFor(`kill -9, ${flush}`),
      aliveMs: [50, 700],
      crash: (broker) => broker.kill(),
    });
    expect(Math.max(...restartMs)).toBeLessThan(RESTART_MS_MAX);
  },
);
