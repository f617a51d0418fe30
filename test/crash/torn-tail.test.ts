// What services/broker/src/log/scan.test.ts does for a sample, for every byte.

import { seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { seedFor } from '../support/seed.ts';
import { DAMAGES, makeTornLog, TAIL_BYTES, wrongInScan, wrongWith } from '../support/torn-log.ts';

/** Every position is read; every so many, the log is opened, twice. */
const WHOLE_OPENING_EVERY = 61;
/** Every byte; a run of few rounds, as the gate makes it, takes a sample. */
const STEP = process.env.CRASH_ROUNDS === undefined ? 1 : 17;

test.each(DAMAGES)(
  'a log torn off at every byte of its last 64 KiB, replaced by %s, keeps all whole records and nothing else',
  async (damage) => {
    const random = seededRandom(seedFor(`torn tail, ${damage}`));
    const torn = await makeTornLog(random);
    for (let position = torn.end - TAIL_BYTES; position <= torn.end; position += STEP) {
      const wrong =
        position % WHOLE_OPENING_EVERY === 0
          ? await wrongWith(torn, position, damage)
          : wrongInScan(torn, position, damage);
      expect(wrong, `from ${position} on`).toBeUndefined();
    }
  },
);
