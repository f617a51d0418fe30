import { describe, expect, test } from 'vitest';
import { type RouteWatcher, RouteWatchers } from './route-watchers.ts';

const watchers = () => new RouteWatchers({ watchersMax: 3, namesMax: 5 });

function drain(watcher: RouteWatcher): string[] {
  const taken: string[] = [];
  while (watcher.pending) taken.push(...watcher.take(2));
  return taken;
}

describe('a watcher', () => {
  test('starts with everything that it wants still to be sent', () => {
    const all = watchers();
    expect(drain(all.add([], ['t', 'u', 'v']))).toEqual(['t', 'u', 'v']);
    expect(drain(all.add(['t', 'unknown'], ['t', 'u']))).toEqual(['t', 'unknown']);
  });

  test('is due one response even when there is nothing to tell', () => {
    const watcher = watchers().add([], []);
    expect(watcher.pending).toBe(true);
    expect(watcher.take(10)).toEqual([]);
    expect(watcher.pending).toBe(false);
  });

  test('learns once of many changes of a topic, however late it reads', () => {
    const all = watchers();
    const everything = all.add([], []);
    const one = all.add(['t'], []);
    drain(everything);
    drain(one);
    for (let round = 0; round < 1000; round++) {
      expect(all.changed(new Set(['t']))).toEqual(new Set([everything, one]));
      expect(all.changed(new Set(['u']))).toEqual(new Set([everything]));
    }
    expect(everything.unsent).toBe(2);
    expect(drain(everything)).toEqual(['t', 'u']);
    expect(drain(one)).toEqual(['t']);
  });

  test('is told again what was not known, and that it now means something, when all is known', () => {
    const all = watchers();
    const named = all.add(['t', 'unknown'], []);
    const everything = all.add([], []);
    drain(named);
    drain(everything);
    expect([...all.warmedUp((topic) => topic === 't')]).toEqual([named, everything]);
    expect(drain(named)).toEqual(['unknown']);
    expect(everything.pending).toBe(true);
    expect(drain(everything)).toEqual([]);
  });

  test('that was removed learns nothing more and frees its place', () => {
    const all = watchers();
    const watcher = all.add(['t', 'u', 'v', 'w', 'x'], []);
    expect(() => all.add(['y'], [])).toThrow('--watchers-max');
    all.remove(watcher);
    all.remove(watcher);
    expect(all.changed(new Set(['t'])).size).toBe(0);
    all.add(['y'], []);
    all.add([], []);
    all.add([], []);
    expect(() => all.add([], [])).toThrow(expect.objectContaining({ reason: 'TOO_MANY_WATCHERS' }));
    expect(all.size).toBe(3);
  });
});
