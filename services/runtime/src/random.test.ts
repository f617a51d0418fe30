import { expect, test } from 'vitest';
import { seededRandom, systemRandom } from './random.ts';

test('the same seed gives the same numbers and bytes, another seed others', () => {
  const draw = (seed: number) => {
    const random = seededRandom(seed);
    return [random.next(), random.integer(1000), random.bytes(8).toString('hex')];
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

test('numbers spread over their whole range and stay inside it', () => {
  for (const random of [seededRandom(1), systemRandom]) {
    const seen = new Set(Array.from({ length: 1000 }, () => random.integer(10)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(() => random.integer(0)).toThrow('no whole number');
  }
});
