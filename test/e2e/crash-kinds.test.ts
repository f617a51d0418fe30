// A short run of what `npm run test:crash` does with delayed messages, transactions and ordered messages.

import { test } from 'vitest';
import { crashKinds } from '../crash/kinds-rounds.ts';
import { seedFor } from '../support/seed.ts';

test('delayed messages, transactions and ordered messages outlive three kills of the broker', {
  timeout: 180_000,
}, async () => {
  await crashKinds({
    flush: 'sync',
    rounds: 3,
    seed: seedFor('kinds under kill -9'),
    aliveMs: [100, 900],
    delayMsMax: 2000,
    least: {
      send: {
        'delayed recalled': 1,
        'transactions ended by commit': 1,
        'transactions ended by rollback': 1,
      },
      consume: { 'ordered failed': 1 },
    },
  });
});
