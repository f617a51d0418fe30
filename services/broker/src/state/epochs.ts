// Which part of the log was written under which epoch. Two logs that have an epoch with the same start are the same up to
// the end of that epoch in the shorter one: an epoch has one writer.

import { assert } from '@ternmq/runtime';
import { idKey, Table } from './keys.ts';
import type { Batch } from './store.ts';

/** An epoch, and where its records begin. */
export interface EpochStart {
  readonly epoch: number;
  /** Position behind the last record of the epoch before. */
  readonly start: number;
}

/** The epochs of the records that are kept, oldest first. */
export class EpochTable {
  #epochs: EpochStart[] = [];
  readonly #added = new Set<EpochStart>();
  readonly #removed = new Set<number>();

  /** All of them, oldest first. */
  get all(): readonly EpochStart[] {
    return this.#epochs;
  }

  /** A row of the store says so. Rows come in their order. */
  restore(epoch: number, start: number): void {
    this.#epochs.push({ epoch, start });
  }

  /** An epoch begins. */
  add(epoch: number, start: number): void {
    const last = this.#epochs.at(-1);
    assert(last === undefined || last.epoch < epoch, 'every epoch is higher than the one before');
    const added = { epoch, start };
    this.#epochs.push(added);
    this.#added.add(added);
  }

  /** Nothing is kept before a position: forgets the epochs that ended there. */
  trim(logStart: number): void {
    let gone = 0;
    while ((this.#epochs[gone + 1]?.start ?? Number.POSITIVE_INFINITY) <= logStart) gone++;
    for (const one of this.#epochs.splice(0, gone)) {
      if (!this.#added.delete(one)) this.#removed.add(one.epoch);
    }
  }

  /** Has anything changed since the last batch? */
  get dirty(): boolean {
    return this.#added.size + this.#removed.size > 0;
  }

  /** What has changed, as rows of EPOCHS. */
  collect(puts: Batch['puts'], removes: Batch['removes']): void {
    for (const { epoch, start } of this.#added) {
      const value = Buffer.allocUnsafe(8);
      value.writeDoubleLE(start);
      puts.push({ key: idKey(Table.EPOCHS, epoch), value });
    }
    for (const epoch of this.#removed) removes.push(idKey(Table.EPOCHS, epoch));
    this.#added.clear();
    this.#removed.clear();
  }
}
