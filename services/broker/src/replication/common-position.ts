// Where the logs of a master and its slave part.

import type { EpochStart } from '../state/epochs.ts';

/** What a log holds, as far as it matters to another broker of the group. */
export interface LogShape {
  /** The epochs of its records, oldest first. */
  readonly epochs: readonly EpochStart[];
  /** Position of its oldest byte. */
  readonly start: number;
  /** Position behind its last byte. */
  readonly end: number;
}

/**
 * Position up to which the slave's log is the master's, and from which the master can send; undefined when there is none
 * that the master still keeps, so that the slave must begin anew.
 *
 * An epoch has one writer: where both logs have the same epoch, with the same start and nonce, they are the same up to the end of that
 * epoch in the one that has less of it.
 */
export function commonPosition(master: LogShape, slave: LogShape): number | undefined {
  if (slave.end === 0) return master.start === 0 ? 0 : undefined;
  for (let i = slave.epochs.length - 1; i >= 0; i--) {
    const shared = slave.epochs[i] as EpochStart;
    const at = master.epochs.findIndex(
      ({ epoch, start, nonce }) =>
        epoch === shared.epoch && start === shared.start && nonce === shared.nonce,
    );
    if (at < 0) continue;
    const position = Math.min(endOf(master, at), endOf(slave, i));
    return position < master.start ? undefined : position;
  }
  return undefined;
}

function endOf({ epochs, end }: LogShape, index: number): number {
  return epochs[index + 1]?.start ?? end;
}
