import { describe, expect, test } from 'vitest';
import { type KnownMember, StandInChoice } from './stand-in-choice.ts';

const AFTER_MS = 1000;

function member(id: number, role: KnownMember['role'], lives = true): KnownMember {
  return { id, address: `host-${id}:1`, role, epoch: 3, lives };
}

/** What slaves decide, second by second, each seeing what the others were a second ago. */
function decide(
  ids: readonly number[],
  seconds: number,
  able: readonly number[] = ids,
): number[][] {
  const choices = new Map(ids.map((id) => [id, new StandInChoice(id, AFTER_MS)]));
  let standing: number[] = [];
  return Array.from({ length: seconds }, (_, second) => {
    const known = ids.map((id) => member(id, standing.includes(id) ? 'stand-in' : 'slave'));
    standing = ids.filter((id) => choices.get(id)?.look(known, 1000 * second) && able.includes(id));
    return standing;
  });
}

describe('who stands in', () => {
  test('is the slave with the lowest number, when the master has been gone for the time', () => {
    expect(decide([1, 2, 3], 6)).toEqual([[], [1], [1], [1], [1], [1]]);
  });

  test('is the next one when that cannot, or is gone', () => {
    expect(decide([1, 2, 3], 5, [2, 3])).toEqual([[], [], [2], [2], [2]]);
    expect(decide([2, 3], 3)).toEqual([[], [2], [2]]);
  });

  test('is nobody while a master lives, and the time begins anew with every one that does', () => {
    const choice = new StandInChoice(1, AFTER_MS);
    const gone = [member(0, 'master', false), member(1, 'slave')];
    expect(choice.look(gone, 0)).toBe(false);
    expect(choice.look([member(0, 'master')], 900)).toBe(false);
    expect(choice.look(gone, 1500)).toBe(false);
    expect(choice.look(gone, 2500)).toBe(true);
    expect(choice.look([member(0, 'master'), member(1, 'stand-in')], 2600)).toBe(false);
  });

  test('gives way to one with a lower number', () => {
    const choice = new StandInChoice(2, AFTER_MS);
    expect(choice.look([], 0)).toBe(false);
    expect(choice.look([], 1000)).toBe(true);
    expect(choice.look([member(1, 'slave')], 2000)).toBe(true);
    expect(choice.look([member(1, 'stand-in')], 3000)).toBe(false);
  });

  test('is another one only after the same time, when who stood in is lost', () => {
    const choice = new StandInChoice(2, AFTER_MS);
    const with1 = (role: KnownMember['role'], lives: boolean) => [member(1, role, lives)];
    for (let ms = 0; ms < 9000; ms += 1000) {
      expect(choice.look(with1('stand-in', true), ms)).toBe(false);
    }
    expect(choice.look(with1('stand-in', false), 8900)).toBe(false);
    expect(choice.look(with1('slave', true), 9100)).toBe(false);
    expect(choice.look(with1('slave', false), 9900)).toBe(true);
  });

  test('is nobody where the time is 0', () => {
    expect(new StandInChoice(1, 0).look([], 1e9)).toBe(false);
  });
});
