// The only row of META: up to where the rows of all tables hold, and what else is kept once.
//
//   eight doubles, little-endian: version 1, position, epoch, next topic id, next group id, next progress id,
//   time of the newest record, start of the log

import { corruptRow } from '../progress/row-bytes.ts';
import type { BrokerState } from './broker-state.ts';

const META_VERSION = 1;

/** Up to where rows hold. */
export interface StateMeta {
  /** Every record before this position is applied. */
  readonly position: number;
  /** Epoch of the newest of them. */
  readonly epoch: number;
}

/** The row of a state that holds up to `meta`. */
export function encodeMeta(state: BrokerState, meta: StateMeta): Buffer {
  const words = [
    META_VERSION,
    meta.position,
    meta.epoch,
    state.topics.nextId,
    state.groups.nextId,
    state.groups.nextProgressId,
    state.lastTimeMs,
    state.logStart,
  ];
  const row = Buffer.allocUnsafe(8 * words.length);
  for (const [i, word] of words.entries()) row.writeDoubleLE(word, 8 * i);
  return row;
}

/** Takes what the row of META says. */
export function decodeMeta(state: BrokerState, row: Buffer): StateMeta {
  const word = (i: number): number => row.readDoubleLE(8 * i);
  if (word(0) !== META_VERSION) throw corruptRow('META has an unknown version');
  state.topics.nextId = Math.max(state.topics.nextId, word(3));
  state.groups.nextId = Math.max(state.groups.nextId, word(4));
  state.groups.nextProgressId = Math.max(state.groups.nextProgressId, word(5));
  state.lastTimeMs = word(6);
  state.logStart = word(7);
  return readMeta(row);
}

/** Up to where the rows hold that a row of META belongs to. */
export function readMeta(row: Buffer): StateMeta {
  return { position: row.readDoubleLE(8), epoch: row.readDoubleLE(16) };
}
