import { describe, expect, test } from 'vitest';
import { SettlementList } from './settlement-list.ts';
import { SettleAction, type Settlement } from './wire/subscribe-request.ts';

const { ACKNOWLEDGE, RETRY, EXTEND } = SettleAction;
const settlement = (offset: number, more: Partial<Settlement> = {}): Settlement => ({
  topicId: 1,
  queueId: 2,
  first: offset,
  end: offset + 1,
  leaseId: 3,
  action: ACKNOWLEDGE,
  delayMs: 0,
  reason: '',
  ...more,
});

describe('settlements', () => {
  test('that follow on each other become one', () => {
    const list = new SettlementList(10);
    for (const offset of [5, 6, 7]) list.add(settlement(offset));
    expect(list.take()).toEqual([settlement(5, { end: 8 })]);
    expect(list.empty).toBe(true);
  });

  test.each([
    ['with a gap between', settlement(7)],
    ['of another queue', settlement(6, { queueId: 9 })],
    ['of another topic', settlement(6, { topicId: 9 })],
    ['under another lease', settlement(6, { leaseId: 9 })],
    ['with another action', settlement(6, { action: RETRY })],
    ['with another delay', settlement(6, { delayMs: 9 })],
    ['with another reason', settlement(6, { reason: 'x' })],
  ])('%s stay apart', (_, next) => {
    const list = new SettlementList(10);
    list.add(settlement(5));
    list.add(next);
    expect(list.take()).toEqual([settlement(5), next]);
  });

  test('that are alike in action and delay are joined whatever the action is', () => {
    const list = new SettlementList(10);
    for (const offset of [5, 6]) list.add(settlement(offset, { action: EXTEND, delayMs: 60_000 }));
    expect(list.take()).toHaveLength(1);
  });

  test('are not changed in the hands of who made them', () => {
    const list = new SettlementList(10);
    const first = settlement(5);
    list.add(first);
    list.add(settlement(6));
    expect(first.end).toBe(6);
  });

  test('are bounded: the oldest is given up', () => {
    const list = new SettlementList(3);
    for (let i = 0; i < 5; i++) list.add(settlement(10 * i));
    expect(list.take().map(({ first }) => first)).toEqual([20, 30, 40]);
  });
});
