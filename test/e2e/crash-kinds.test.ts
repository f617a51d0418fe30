// A short run of what `npm run test:crash` does with delayed messages, transactions and ordered messages.

import { expect, test } from 'vitest';
import { crashKinds } from '../crash/kinds-rounds.ts';
import { seedFor } from '../support/seed.ts';

test('delayed messages, transactions and ordered messages outlive three kills of the broker', {
  timeout: 180_000,
}, async () => {
  const { delayed, transactions, ordered } = await crashKinds({
    flush: 'sync',
    rounds: 3,
    seed: seedFor('kinds under kill -9'),
    aliveMs: [100, 900],
    delayMsMax: 2000,
  });
  expect(delayed.counts.recalled).toBeGreaterThan(0);
  expect(transactions.counts['ended by commit']).toBeGreaterThan(0);
  expect(transactions.counts['ended by rollback']).toBeGreaterThan(0);
  expect(ordered.counts.failed).toBeGreaterThan(0);
});
