// Chance of the run's seed, in the place of Node's.

import { theWorld } from './world.ts';

export * from 'node:crypto';

/** As Node's. */
export function randomInt(min: number, max: number): number {
  return min + Math.floor(theWorld().random.next() * (max - min));
}

/** As Node's. */
export function randomBytes(length: number): Buffer {
  return theWorld().random.bytes(length);
}

/** As Node's, but for the dashes. */
export function randomUUID(): string {
  return theWorld().random.bytes(16).toString('hex');
}
