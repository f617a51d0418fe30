// The only source of chance, so that a seed reproduces a run.

import { randomBytes } from 'node:crypto';
import { assert } from './errors.ts';

/** Chance. */
export interface Random {
  /** Any number in [0, 1). */
  next(): number;
  /** Any whole number in [0, max). */
  integer(max: number): number;
  /** So many random bytes. */
  bytes(length: number): Buffer;
}

/** Chance of the machine; its bytes are fit for identities and secrets, its numbers are not. */
export const systemRandom: Random = {
  next: Math.random,
  integer: (max) => Math.floor(Math.random() * checked(max)),
  bytes: (length) => randomBytes(length),
};

/** Chance that is the same for the same seed (mulberry32). Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    integer: (max) => Math.floor(next() * checked(max)),
    bytes: (length) => Buffer.from(Array.from({ length }, () => Math.floor(next() * 256))),
  };
}

function checked(max: number): number {
  assert(Number.isSafeInteger(max) && max > 0, `no whole number lies in [0, ${max})`);
  return max;
}
