// A set of whole numbers kept as sorted, disjoint ranges in one flat array:
//
//   bounds   from0  to0  from1  to1  …        range i holds from_i <= n < to_i
//
// Invariant: from0 < to0 < from1 < to1 < …; ranges that touch are one range.

import { assert } from '@ternmq/runtime';

/**
 * A set of whole numbers in few ranges. Finding one is a binary search; a change moves the bounds behind it, so it
 * is cheap at the end and where ranges only grow.
 */
export class RangeSet {
  readonly #bounds: number[] = [];

  /** Number of ranges. */
  get size(): number {
    return this.#bounds.length / 2;
  }

  /** The ranges, in order: from, to, from, to, … Valid until the next change. */
  get bounds(): readonly number[] {
    return this.#bounds;
  }

  /** Adds the numbers from <= n < to; returns how many of them were not in the set. */
  add(from: number, to: number): number {
    assert(from < to, 'an added range holds a number');
    const bounds = this.#bounds;
    const length = bounds.length;
    if (length === 0 || from > (bounds[length - 1] as number)) {
      bounds.push(from, to);
      return to - from;
    }
    const first = this.#rangeEndingAt(from);
    let behind = first;
    let mergedFrom = from;
    let mergedTo = to;
    let present = 0;
    while (behind < length && (bounds[behind] as number) <= to) {
      const rangeFrom = bounds[behind] as number;
      const rangeTo = bounds[behind + 1] as number;
      present += rangeTo - rangeFrom;
      if (rangeFrom < mergedFrom) mergedFrom = rangeFrom;
      if (rangeTo > mergedTo) mergedTo = rangeTo;
      behind += 2;
    }
    if (behind === first) {
      bounds.splice(first, 0, mergedFrom, mergedTo);
    } else {
      bounds[first] = mergedFrom;
      bounds[first + 1] = mergedTo;
      if (behind > first + 2) bounds.splice(first + 2, behind - first - 2);
    }
    return mergedTo - mergedFrom - present;
  }

  /** Is the number in the set? */
  has(offset: number): boolean {
    const at = this.#rangeEndingAt(offset + 1);
    return at < this.#bounds.length && (this.#bounds[at] as number) <= offset;
  }

  /** The lowest number from `offset` on that is not in the set. */
  firstGap(offset: number): number {
    const at = this.#rangeEndingAt(offset + 1);
    if (at < this.#bounds.length && (this.#bounds[at] as number) <= offset) {
      return this.#bounds[at + 1] as number;
    }
    return offset;
  }

  /** Removes every number below the floor. */
  trimBelow(floor: number): void {
    const bounds = this.#bounds;
    const kept = this.#rangeEndingAt(floor + 1);
    if (kept > 0) bounds.splice(0, kept);
    if (bounds.length > 0 && (bounds[0] as number) < floor) bounds[0] = floor;
  }

  /** How many of the numbers from <= n < to are in the set. */
  countWithin(from: number, to: number): number {
    const bounds = this.#bounds;
    let count = 0;
    for (let at = this.#rangeEndingAt(from + 1); at < bounds.length; at += 2) {
      const rangeFrom = Math.max(bounds[at] as number, from);
      const rangeTo = Math.min(bounds[at + 1] as number, to);
      if (rangeFrom >= rangeTo) break;
      count += rangeTo - rangeFrom;
    }
    return count;
  }

  /** Visits, in order, the longest ranges between `from` and `to` that hold no number of the set. */
  forEachGap(from: number, to: number, visit: (from: number, to: number) => void): void {
    const bounds = this.#bounds;
    let gapFrom = from;
    for (let at = this.#rangeEndingAt(from + 1); at < bounds.length && gapFrom < to; at += 2) {
      const rangeFrom = bounds[at] as number;
      if (rangeFrom >= to) break;
      if (rangeFrom > gapFrom) visit(gapFrom, rangeFrom);
      gapFrom = bounds[at + 1] as number;
    }
    if (gapFrom < to) visit(gapFrom, to);
  }

  /** Where the first range with `end` <= its end starts in `#bounds`; behind the last range if there is none. */
  #rangeEndingAt(end: number): number {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[2 * middle + 1] as number) < end) low = middle + 1;
      else high = middle;
    }
    return 2 * low;
  }
}
