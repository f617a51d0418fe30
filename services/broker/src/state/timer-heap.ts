// Delayed messages by the time when they are due: a heap in two flat arrays, 16 bytes a message.
//
// Order: due time, then offset. Invariant: no element comes before its parent, (i - 1) >> 2.

const CAPACITY_AT_FIRST = 256;
const CHILDREN_BITS = 2;

/** A heap of (due time, offset). */
export class TimerHeap {
  #dues = new Float64Array(CAPACITY_AT_FIRST);
  #offsets = new Float64Array(CAPACITY_AT_FIRST);
  #size = 0;

  /** Number of elements. */
  get size(): number {
    return this.#size;
  }

  /** Due time of the first element, in milliseconds since the Unix epoch; Infinity when there is none. */
  get firstDueMs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : (this.#dues[0] as number);
  }

  /** Offset of the first element; there must be one. */
  get firstOffset(): number {
    return this.#offsets[0] as number;
  }

  /** Adds an element. */
  push(dueMs: number, offset: number): void {
    if (this.#size === this.#dues.length) this.#resize(this.#size * 2);
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> CHILDREN_BITS;
      if (!this.#isBefore(dueMs, offset, parent)) break;
      this.#dues[at] = this.#dues[parent] as number;
      this.#offsets[at] = this.#offsets[parent] as number;
      at = parent;
    }
    this.#dues[at] = dueMs;
    this.#offsets[at] = offset;
  }

  /** Removes the first element and returns its offset; there must be one. */
  pop(): number {
    const first = this.#offsets[0] as number;
    const size = --this.#size;
    const dueMs = this.#dues[size] as number;
    const offset = this.#offsets[size] as number;
    let at = 0;
    for (;;) {
      const begin = (at << CHILDREN_BITS) + 1;
      if (begin >= size) break;
      let least = begin;
      const end = Math.min(begin + (1 << CHILDREN_BITS), size);
      for (let child = begin + 1; child < end; child++) {
        if (this.#isBefore(this.#dues[child] as number, this.#offsets[child] as number, least)) {
          least = child;
        }
      }
      if (this.#isBefore(dueMs, offset, least)) break;
      this.#dues[at] = this.#dues[least] as number;
      this.#offsets[at] = this.#offsets[least] as number;
      at = least;
    }
    this.#dues[at] = dueMs;
    this.#offsets[at] = offset;
    if (size > CAPACITY_AT_FIRST && size < this.#dues.length >> 2) {
      this.#resize(this.#dues.length >> 1);
    }
    return first;
  }

  #isBefore(dueMs: number, offset: number, other: number): boolean {
    const otherDueMs = this.#dues[other] as number;
    return (
      dueMs < otherDueMs || (dueMs === otherDueMs && offset < (this.#offsets[other] as number))
    );
  }

  #resize(capacity: number): void {
    const dues = new Float64Array(capacity);
    dues.set(this.#dues.subarray(0, this.#size));
    this.#dues = dues;
    const offsets = new Float64Array(capacity);
    offsets.set(this.#offsets.subarray(0, this.#size));
    this.#offsets = offsets;
  }
}
