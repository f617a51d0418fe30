// How old the messages of each segment are, which decides when the segment may go.

import { segmentKey } from './keys.ts';
import type { Batch } from './store.ts';

/** Time of the newest message by segment of the log. */
export class SegmentTimes {
  readonly #times = new Map<number, number>();
  readonly #changed = new Set<number>();
  readonly #removed = new Set<number>();

  /** A row of the store says so. */
  restore(start: number, timeMs: number): void {
    this.#times.set(start, timeMs);
  }

  /** The segment that begins at a position has a message of this time. */
  note(start: number, timeMs: number): void {
    if ((this.#times.get(start) ?? 0) >= timeMs) return;
    this.#times.set(start, timeMs);
    this.#changed.add(start);
  }

  /** Time of the newest message in a segment; undefined when none was noted. */
  find(start: number): number | undefined {
    return this.#times.get(start);
  }

  /** The times of all segments. */
  values(): Iterable<number> {
    return this.#times.values();
  }

  /** Segments before a position are removed. */
  trim(logStart: number): void {
    for (const start of this.#times.keys()) {
      if (start >= logStart) continue;
      this.#times.delete(start);
      this.#changed.delete(start);
      this.#removed.add(start);
    }
  }

  /** Has anything changed since the last batch? */
  get dirty(): boolean {
    return this.#changed.size + this.#removed.size > 0;
  }

  /** What has changed, as rows of SEGMENTS. */
  collect(puts: Batch['puts'], removes: Batch['removes']): void {
    for (const start of this.#changed) {
      const value = Buffer.allocUnsafe(8);
      value.writeDoubleLE(this.#times.get(start) as number);
      puts.push({ key: segmentKey(start), value });
    }
    for (const start of this.#removed) removes.push(segmentKey(start));
    this.#changed.clear();
    this.#removed.clear();
  }
}
