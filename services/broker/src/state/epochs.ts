// Which part of the log was written under which epoch. Two logs that have the same epoch, by number, start and nonce, are the
// same up to the end of that epoch in the shorter one: an epoch has one writer.

import type { EpochBegun } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { assert } from '@ternmq/runtime';
import { idKey, Table } from './keys.ts';
import type { Batch } from './store.ts';

/** An epoch, and where its records begin. */
export interface EpochStart {
  readonly epoch: number;
  /** Position behind the last record of the epoch before. */
  readonly start: number;
  /** Chosen at random: epochs of one number and start are the same only if this is. */
  readonly nonce: number;
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
  restore(epoch: number, row: Buffer): void {
    this.#epochs.push({ epoch, start: row.readDoubleLE(0), nonce: row.readDoubleLE(8) });
  }

  /** An epoch begins. */
  add(begun: Pick<EpochBegun, 'epoch' | 'startPosition' | 'nonce'>): void {
    const { epoch } = begun;
    const [start, nonce] = [Number(begun.startPosition), Number(begun.nonce)];
    const last = this.#epochs.at(-1);
    assert(last === undefined || last.epoch < epoch, 'every epoch is higher than the one before');
    const added = { epoch, start, nonce };
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
    for (const { epoch, start, nonce } of this.#added) {
      const value = Buffer.allocUnsafe(16);
      value.writeDoubleLE(start);
      value.writeDoubleLE(nonce, 8);
      puts.push({ key: idKey(Table.EPOCHS, epoch), value });
    }
    for (const epoch of this.#removed) removes.push(idKey(Table.EPOCHS, epoch));
    this.#added.clear();
    this.#removed.clear();
  }
}
