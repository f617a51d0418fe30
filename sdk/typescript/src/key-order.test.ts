import { expect, test } from 'vitest';
import { type Keyed, KeyOrder } from './key-order.ts';

const message = (offset: number, orderingKey: string, broker = 'a'): Keyed => ({
  broker,
  topicId: 1,
  queueId: 2,
  offset,
  orderingKey,
});
const stretch = (first: number, end: number) => ({ topicId: 1, queueId: 2, first, end });

test('messages of a key come one after the other, and those of others and of none beside them', () => {
  const order = new KeyOrder<string>();
  expect(order.add(message(0, 'k'), 'k0')).toBe('next');
  expect(order.add(message(1, 'k'), 'k1')).toBe('waits');
  expect(order.add(message(2, 'l'), 'l2')).toBe('next');
  expect(order.add(message(3, ''), 'x3')).toBe('next');
  expect(order.add(message(4, ''), 'x4')).toBe('next');
  expect(order.add(message(5, 'k'), 'k5')).toBe('waits');
  expect(order.waiting()).toEqual(['k1', 'k5']);
  expect(order.done(message(0, 'k'))).toBe('k1');
  expect(order.done(message(1, 'k'))).toBe('k5');
  expect(order.done(message(5, 'k'))).toBeUndefined();
  expect(order.add(message(6, 'k'), 'k6')).toBe('next');
});

test('what was sent before the broker knew of a failure is dropped, and what comes after its answer is not', () => {
  const order = new KeyOrder<string>();
  order.add(message(0, 'k'), 'k0');
  order.add(message(1, 'k'), 'k1');
  expect(order.failed(message(0, 'k'))).toEqual(['k1']);
  expect(order.add(message(2, 'k'), 'k2')).toBe('dropped');
  expect(order.add(message(3, 'l'), 'l3')).toBe('next');
  order.answered('b', stretch(0, 1));
  order.answered('a', stretch(1, 5));
  expect(order.add(message(4, 'k'), 'k4')).toBe('dropped');
  order.answered('a', stretch(0, 1));
  expect(order.add(message(0, 'k'), 'k0 again')).toBe('next');
});

test('a new stream to the broker ends the dropping, and only there', () => {
  const order = new KeyOrder<string>();
  order.add(message(0, 'k'), 'k0');
  order.failed(message(0, 'k'));
  order.reopened('b');
  expect(order.add(message(1, 'k'), 'k1')).toBe('dropped');
  order.reopened('a');
  expect(order.add(message(1, 'k'), 'k1')).toBe('next');
});
