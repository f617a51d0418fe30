// How long things took: counts in buckets that grow by 1 %, so that a percentile is right to that much and a
// measurement of millions of messages takes no memory for each.

const MS_MIN = 0.001;
const GROWTH = 1.01;
const BUCKETS = Math.ceil(Math.log(1e9) / Math.log(GROWTH));

/** A distribution of milliseconds. */
export class Latencies {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #maxMs = 0;

  /** Adds one time, for so many messages at once. */
  add(ms: number, messages: number): void {
    const steps = Math.log(Math.max(ms, MS_MIN) / MS_MIN) / Math.log(GROWTH);
    const bucket = Math.min(BUCKETS - 1, Math.floor(steps));
    this.#counts[bucket] = (this.#counts[bucket] as number) + messages;
    this.#count += messages;
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  /** Longest time, in milliseconds; 0 when there is none. */
  get maxMs(): number {
    return this.#maxMs;
  }

  /** The time that so many of 100 messages did not exceed, in milliseconds; 0 when there is none. */
  percentile(percent: number): number {
    if (this.#count === 0) return 0;
    const wanted = (this.#count * percent) / 100;
    let counted = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      counted += this.#counts[bucket] as number;
      if (counted >= wanted) return Math.min(this.#maxMs, MS_MIN * GROWTH ** (bucket + 1));
    }
    return this.#maxMs;
  }
}
