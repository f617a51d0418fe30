// The offsets of a compacted queue's messages that were appended again, in order: what is left of it below its begin.
//
// Invariant: sorted, each offset once.

/** A sorted list of offsets that grows at its end, as a rule. */
export class RetainedOffsets {
  #offsets: number[] = [];

  /** The offset at an index; undefined behind the last. */
  at(index: number): number | undefined {
    return this.#offsets[index];
  }

  /** Index of the first offset that is not below this one. */
  indexOf(offset: number): number {
    let low = 0;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] as number) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds an offset; harmless when it is there. */
  add(offset: number): void {
    const index = this.indexOf(offset);
    if (index === this.#offsets.length) this.#offsets.push(offset);
    else if (this.#offsets[index] !== offset) this.#offsets.splice(index, 0, offset);
  }

  /** Leaves only those that are wanted. */
  keep(wanted: (offset: number) => boolean): void {
    this.#offsets = this.#offsets.filter(wanted);
  }
}
