import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../support/delivery-model.ts';
import { seedFor } from '../support/seed.ts';
import { anyStep, Life, type PlantedBug, type Step } from './delivery.model.ts';

/** Lives that are tried; thousands with MODEL_RUNS, as `npm run test:model` does. */
const RUNS = Number(process.env.MODEL_RUNS ?? 150);
const lives = fc.array(anyStep, { minLength: 5, maxLength: 45, size: 'max' });

test(
  'a topic and its group do what the model does, whatever happens to them',
  async () => {
    const seed = seedFor('delivery model') % 2 ** 31;
    await fc.assert(
      fc.asyncProperty(lives, (steps) => Life.run(steps)),
      { numRuns: RUNS, seed },
    );
  },
  RUNS * 2000,
);

test('a stream that breaks soon after a start has the whole grace', async () => {
  await Life.run([
    { do: 'pass', ticks: 45 },
    { do: 'send', queue: 0, count: 1 },
    { do: 'receive', consumer: 1, max: 1 },
    { do: 'leave', consumer: 1, clean: false },
    { do: 'pass', ticks: 5 },
    { do: 'receive', consumer: 0, max: 1 },
  ]);
});

describe('a planted bug is found:', () => {
  const BUGS: Readonly<Record<string, PlantedBug>> = {
    'a delivery is lost': { deliveries: (all) => all.slice(1) },
    'a message is delivered twice': { deliveries: (all) => [...all, ...all.slice(0, 1)] },
    'attempts are not counted': {
      deliveries: (all) => all.map((one) => ({ ...one, attempt: 1 })),
    },
    'an acknowledgement is taken for a return': {
      action: (action) => (action.kind === 'acknowledge' ? { kind: 'giveBack' } : action),
    },
    'a dead letter is acknowledged instead': {
      action: (action) => (action.kind === 'deadLetter' ? { kind: 'acknowledge' } : action),
    },
    'a retry comes without its pause': {
      action: (action) => (action.kind === 'retry' ? { kind: 'giveBack' } : action),
    },
    'an extension does nothing': {
      action: (action) => (action.kind === 'extend' ? { kind: 'extend', delayMs: 1000 } : action),
    },
    'leases end late': { ticks: (ticks) => ticks - 1 },
    'delayed messages come early': { delayMs: (delayMs) => Math.ceil(delayMs / 2) },
    'a rollback commits': { commit: () => true },
  };

  test.each(Object.entries(BUGS))('%s', async (_name, bug) => {
    const found = await fc.check(
      fc.asyncProperty(lives, async (steps: Step[]) => {
        await Life.run(steps, bug);
      }),
      { numRuns: 300, seed: 1, endOnFailure: true },
    );
    expect(found.failed).toBe(true);
    expect(found.errorInstance).toBeInstanceOf(ModelError);
  });
});
