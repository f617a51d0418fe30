import { fromBinary } from '@bufbuild/protobuf';
import { ProduceResponseSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PendingFrames } from './pending-frames.ts';

test('every stream gets the outcomes of its frames once, in order, as soon as the log allows', () => {
  const step = fc.oneof(
    fc.record({
      stream: fc.integer({ min: 0, max: 2 }),
      bytes: fc.integer({ min: 0, max: 9 }),
      rare: fc.constantFrom('', '', '', 'TOPIC_NOT_FOUND'),
      many: fc.constantFrom(1, 1, 1, 5000),
    }),
    fc.integer({ min: 0, max: 30 }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pending = new PendingFrames();
      const found: [number, string][][] = [[], [], []];
      const expected: [number, string][][] = [[], [], []];
      const waiting: { position: number; stream: number; entry: [number, string] }[] = [];
      const sinks = found.map((list) => ({
        send(bytes: Buffer, frames: number): void {
          const { outcomes } = fromBinary(ProduceResponseSchema, bytes);
          expect(outcomes).toHaveLength(frames);
          for (const { frameId, reason, queueId, baseOffset, topicId } of outcomes) {
            list.push([frameId, reason]);
            if (reason === '') {
              expect([queueId, Number(baseOffset), topicId]).toEqual([frameId % 7, frameId * 3, 9]);
            }
          }
        },
      }));
      let next = 0;
      let visible = 0;
      let frameId = 0;
      const release = (): void => {
        pending.release(visible);
        while ((waiting[0]?.position ?? Number.POSITIVE_INFINITY) <= visible) {
          const { stream, entry } = waiting.shift() as (typeof waiting)[0];
          expected[stream]?.push(entry);
        }
        expect(pending.size).toBe(waiting.length);
      };
      for (const step of steps) {
        if (typeof step === 'number') {
          visible = Math.min(next, visible + step);
          release();
          expect(found).toEqual(expected);
          continue;
        }
        const sink = sinks[step.stream] as (typeof sinks)[0];
        for (let i = 0; i < step.many; i++) {
          frameId++;
          next += step.bytes;
          waiting.push({ position: next, stream: step.stream, entry: [frameId, step.rare] });
          if (step.rare === '') pending.add(next, sink, frameId, frameId % 7, frameId * 3, 9);
          else {
            pending.addRare(next, sink, {
              frameId,
              queueId: 0,
              baseOffset: 0n,
              topicId: 0,
              reason: step.rare,
              message: 'why',
              parts: [],
            });
          }
        }
      }
      visible = next;
      release();
      expect(found).toEqual(expected);
    }),
    { numRuns: 40 },
  );
});
