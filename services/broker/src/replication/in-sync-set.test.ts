import { describe, expect, test } from 'vitest';
import { InSyncSet } from './in-sync-set.ts';

const LIMITS = { timeMs: 1000, goneMs: 300, silentMs: 5000, bytes: 10_000, shrinks: true };

function setOf(ids: readonly number[], limits = LIMITS): InSyncSet {
  return new InSyncSet(0, ids, limits, 0);
}

describe('what is confirmed', () => {
  test('is what every member of the set has, and others do not count', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    set.connected(2, 0, 0);
    set.acknowledged(1, 300, 500, 0);
    set.acknowledged(2, 100, 500, 0);
    expect(set.confirmed(500)).toBe(300);
    expect(set.confirmed(200)).toBe(200);
  });

  test('waits for members of the old and the new set while a change is under way', () => {
    const set = setOf([0, 1]);
    set.acknowledged(1, 300, 500, 0);
    set.acknowledged(2, 200, 500, 0);
    set.asked([0, 2]);
    expect(set.confirmed(500)).toBe(200);
    // Old news: the change may have been made meanwhile.
    set.decided([0, 1], 0);
    expect(set.confirmed(500)).toBe(200);
    set.decided([0, 2], 0);
    set.answered();
    set.acknowledged(2, 450, 500, 0);
    expect(set.confirmed(500)).toBe(450);
  });

  test('waits for a member that never came', () => {
    expect(setOf([0, 1, 2]).confirmed(500)).toBe(0);
  });
});

describe('a member', () => {
  test('leaves the set when it lacks something for too long, and comes back when it has what is confirmed', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    set.acknowledged(1, 500, 500, 0);
    set.grown(600, 100);
    expect(set.wanted(600, 500, 1100)).toBeUndefined();
    expect(set.wanted(600, 500, 1101)).toEqual([0]);
    set.decided([0], 1200);
    set.acknowledged(1, 550, 600, 1300);
    expect(set.wanted(600, 600, 1300)).toBeUndefined();
    set.acknowledged(1, 600, 600, 1400);
    expect(set.wanted(600, 600, 1400)).toEqual([0, 1]);
  });

  test('that says nothing leaves the set although its stream is open, and comes back with its first word', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    set.acknowledged(1, 500, 500, 100);
    expect(set.wanted(500, 500, 5100)).toBeUndefined();
    expect(set.wanted(500, 500, 5101)).toEqual([0]);
    set.decided([0], 5200);
    expect(set.wanted(500, 500, 5300)).toBeUndefined();
    set.acknowledged(1, 500, 500, 5400);
    expect(set.wanted(500, 500, 5400)).toEqual([0, 1]);
  });

  test('that always reaches what the master had a moment ago stays, however fast the log grows', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    let end = 0;
    for (let nowMs = 0; nowMs < 20_000; nowMs += 100) {
      set.acknowledged(1, end, end + 400, nowMs);
      end += 400;
      set.grown(end, nowMs);
      expect(set.wanted(end, end - 400, nowMs)).toBeUndefined();
    }
  });

  test('leaves the set when it lacks too many bytes, or its stream is gone for too long', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    set.acknowledged(1, 500, 500, 0);
    expect(set.wanted(10_501, 500, 1)).toEqual([0]);
    set.disconnected(1, 100);
    expect(set.wanted(500, 500, 400)).toBeUndefined();
    expect(set.wanted(500, 500, 401)).toEqual([0]);
  });

  test('that never came is waited for no longer than one that is gone', () => {
    const set = setOf([0, 1]);
    expect(set.wanted(500, 500, 300)).toBeUndefined();
    expect(set.wanted(500, 500, 301)).toEqual([0]);
  });

  test('stays in a set of fixed roles, whatever it lacks', () => {
    const set = setOf([0, 1], { ...LIMITS, shrinks: false });
    expect(set.wanted(100_000, 0, 100_000)).toBeUndefined();
  });

  test('that comes back has no more than what is common, until it says so', () => {
    const set = setOf([0, 1]);
    set.connected(1, 0, 0);
    set.acknowledged(1, 500, 500, 0);
    set.disconnected(1, 10);
    // It was damaged, or had what its master never had.
    set.connected(1, 200, 20);
    expect(set.confirmed(500)).toBe(200);
    set.decided([0], 30);
    expect(set.wanted(500, 150, 30)).toBeUndefined();
    set.acknowledged(1, 500, 500, 40);
    expect(set.wanted(500, 500, 40)).toEqual([0, 1]);
  });

  test('whose log is long is not left out before it has said how far it is', () => {
    const set = setOf([0, 1]);
    set.connected(1, 1_000_000, 0);
    expect(set.wanted(1_000_000, 0, 100)).toBeUndefined();
    set.acknowledged(1, 10, 1_000_000, 100);
    expect(set.wanted(1_000_000, 0, 100)).toEqual([0]);
  });

  test('is asked for once, until the answer is there', () => {
    const set = setOf([0]);
    set.connected(1, 0, 0);
    set.acknowledged(1, 500, 500, 0);
    expect(set.wanted(500, 500, 0)).toEqual([0, 1]);
    set.asked([0, 1]);
    expect(set.wanted(500, 500, 0)).toBeUndefined();
  });
});
