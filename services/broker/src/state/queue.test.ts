import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BrokerState } from './broker-state.ts';
import { openMemoryStore } from './memory-store.ts';
import { CHUNK_ENTRIES, entryKeyHash, Queue } from './queue.ts';

test('the index tells every message, however it is written, forgotten and read again', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 150 }) },
    { weight: 3, arbitrary: fc.constant('write' as const) },
    { weight: 1, arbitrary: fc.constant('idle' as const) },
    { weight: 1, arbitrary: fc.constant('reload' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.nat(), (steps, seed) => {
      const store = openMemoryStore();
      const state = new BrokerState(store);
      let queue = new Queue(1, 0);
      const messages: { position: number; length: number; tagHash: number }[] = [];
      const keyHashes: number[] = [];
      let position = seed % 2 === 0 ? 0 : 2 ** 52 + 5;
      const write = (): void => {
        const batch = state.collect({ position, epoch: 1 });
        store.commitSync(batch);
        batch.committed();
      };
      for (const step of steps) {
        if (step === 'write') write();
        else if (step === 'idle') for (let i = 0; i < 10; i++) write();
        else if (step === 'reload') {
          write();
          const again = new Queue(1, 0);
          again.restore(queue.encode());
          queue = again;
        } else {
          for (let i = 0; i < step; i++) {
            const length = i % 5 === 0 ? 2 ** 23 - 1 - i : 100 + (i % 7);
            const message = { position, length, tagHash: (position * 31) >>> 0 };
            const keyHash = ((position + i) * 7919) % 2 ** 20;
            state.addMessage(queue, position, length, message.tagHash, keyHash, 5, 0, 0);
            keyHashes.push(keyHash);
            messages.push(message);
            position += message.length;
          }
        }
      }
      expect(queue.next).toBe(messages.length);
      for (const [offset, message] of messages.entries()) {
        if (offset % 17 === 0 || offset % CHUNK_ENTRIES > 253 || offset > messages.length - 3) {
          expect(state.locate(queue, offset)).toEqual(message);
          const chunk = state.chunk(queue, Math.floor(offset / CHUNK_ENTRIES));
          expect(entryKeyHash(chunk, offset % CHUNK_ENTRIES)).toBe(keyHashes[offset]);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test('the begin follows the start of the log, whatever was relocated from before it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 700 }),
      fc.nat(),
      fc.array(fc.nat(), { maxLength: 5 }),
      (count, cut, relocated) => {
        const state = new BrokerState(openMemoryStore());
        const queue = new Queue(1, 0);
        for (let i = 0; i < count; i++) state.addMessage(queue, 100 * i, 100, 0, 0, 5, 0, 0);
        const begin = cut % (count + 1);
        for (const one of relocated)
          state.relocated(queue, one % count, 100 * (count + one), 100, 0);
        state.logStart = 100 * begin;
        expect(state.beginOf(queue)).toBe(begin);
      },
    ),
  );
});
