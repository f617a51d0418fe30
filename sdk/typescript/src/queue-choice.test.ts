import { describe, expect, test } from 'vitest';
import { keyHash, queueOfKey, queueOfTurn } from './queue-choice.ts';
import type { RouteQueue } from './transport/route.ts';

const queue = (broker: string, queueId: number, suspect = false): RouteQueue => ({
  broker,
  queueId,
  suspect,
  address: `${broker}:1`,
});

describe('the hash of an ordering key', () => {
  test.each([
    ['', 0x811c9dc5],
    ['a', 0xe40c292c],
    ['foobar', 0xbf9cf968],
    ['Grüße', 0xb8226e38],
  ])('of %j is FNV-1a of its UTF-8 bytes', (key, hash) => {
    expect(keyHash(key)).toBe(hash);
  });

  test('spreads keys over queues', () => {
    const queues = [0, 1, 2, 3].map((queueId) => queue('a', queueId));
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      const { queueId } = queueOfKey(queues, `order-${i}`);
      counts[queueId] = (counts[queueId] as number) + 1;
    }
    for (const count of counts) expect(count).toBeGreaterThan(800);
  });
});

describe('a queue by turns', () => {
  test('is each one after the other', () => {
    const queues = [queue('a', 0), queue('a', 1), queue('b', 0)];
    const chosen = [0, 1, 2, 3].map((turn) => queueOfTurn(queues, turn, () => false));
    expect(chosen).toEqual([queues[0], queues[1], queues[2], queues[0]]);
  });

  test('is none of a suspect or avoided broker while there are others', () => {
    const queues = [queue('a', 0, true), queue('b', 0), queue('c', 0)];
    for (let turn = 0; turn < 6; turn++) {
      expect(queueOfTurn(queues, turn, ({ broker }) => broker === 'b').broker).toBe('c');
    }
  });

  test('is rather a suspect one than one that was found away', () => {
    const queues = [queue('a', 0, true), queue('b', 0)];
    expect(queueOfTurn(queues, 1, ({ broker }) => broker === 'b').broker).toBe('a');
  });

  test('is any when all are avoided', () => {
    const queues = [queue('a', 0), queue('b', 0)];
    expect(queueOfTurn(queues, 1, () => true).broker).toBe('b');
  });
});
