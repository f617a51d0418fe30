// What one idempotent producer has sent to one queue: enough to know a frame that is sent again, and to answer
// it with the offsets of the first time.
//
// Sequences count the producer's messages in the queue, so what is stored is a list of runs in which sequence
// and offset rise together; a run begins where another producer's messages came between. Messages that were dropped
// because they repeat others have runs of their own, with the places of those others.
//
//   row: 0 version 1 | 1 last use 8, ms | 9 next sequence 8 | 17 runs, 16 bytes each: sequence 8, offset 8
//        version 1 ends here; version 2 has runs of repeats behind an offset of -1 and sequence -1:
//        32 bytes each: sequence 8, number 8, queue id 8, offset 8
//
// Bound: 512 runs of each kind; a frame older than the oldest run is refused as SEQUENCE_TOO_OLD. An SDK has at most 512
// frames in flight for a queue, so that does not happen to what may honestly be sent again.

const RUNS_MAX = 512;
const ROW_HEADER_BYTES = 17;
const RUN_BYTES = 16;
const NO_RUN = -1;

/** One producer's sequences in one queue. */
export class ProducerSequence {
  /** The sequence that is expected next. */
  next = 0;
  /** When the producer was last heard, in milliseconds since the Unix epoch. */
  lastUseMs = 0;
  /** Sequence and offset of each run's first message, in turn. */
  #runs: number[] = [];
  /** Sequence of each first repeat, how many there are, and queue and offset of the message that it repeats. */
  #repeats: number[] = [];

  /** Notes a stored message. */
  stored(sequence: number, offset: number, timeMs: number): void {
    const runs = this.#runs;
    const last = runs.length - 2;
    const continues =
      last >= 0 &&
      sequence === this.next &&
      offset - (runs[last + 1] as number) === sequence - (runs[last] as number);
    if (!continues) {
      if (sequence !== this.next) this.#forget();
      if (runs.length >= 2 * RUNS_MAX) runs.splice(0, RUNS_MAX);
      runs.push(sequence, offset);
    }
    this.next = sequence + 1;
    this.lastUseMs = timeMs;
  }

  /** Notes messages that were dropped, because they repeat others that are next to each other from `first` on. */
  repeated(
    sequence: number,
    count: number,
    first: { readonly queueId: number; readonly offset: number },
    timeMs: number,
  ): void {
    if (sequence !== this.next) this.#forget();
    const repeats = this.#repeats;
    if (repeats.length >= 4 * RUNS_MAX) {
      repeats.splice(0, 2 * RUNS_MAX);
      // Without those that were dropped before it, a run may not be told from what it goes across.
      const oldest = repeats[0] as number;
      while ((this.#runs[0] ?? oldest) < oldest) this.#runs.splice(0, 2);
    }
    repeats.push(sequence, count, first.queueId, first.offset);
    this.next = sequence + count;
    this.lastUseMs = timeMs;
  }

  /** A hole in the sequences: nothing from before it is known any more. */
  #forget(): void {
    this.#runs.length = 0;
    this.#repeats.length = 0;
  }

  /** The message that one repeats which was dropped; undefined when it was not, or that is not known any more. */
  findRepeated(sequence: number): { queueId: number; offset: number } | undefined {
    const repeats = this.#repeats;
    for (let at = repeats.length - 4; at >= 0; at -= 4) {
      const behind = sequence - (repeats[at] as number);
      if (behind < 0) continue;
      if (behind >= (repeats[at + 1] as number)) return undefined;
      return { queueId: repeats[at + 2] as number, offset: (repeats[at + 3] as number) + behind };
    }
    return undefined;
  }

  /** The offset that a message was stored at, unless it was dropped; undefined when that is not known any more. */
  find(sequence: number): number | undefined {
    const runs = this.#runs;
    if (sequence >= this.next) return undefined;
    let low = 0;
    let high = runs.length / 2 - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((runs[2 * middle] as number) <= sequence) low = middle;
      else high = middle - 1;
    }
    const first = runs[2 * low];
    if (first === undefined || first > sequence) return undefined;
    return (runs[2 * low + 1] as number) + (sequence - first);
  }

  /** The row. */
  encode(): Buffer {
    const repeats = this.#repeats;
    const numbers = repeats.length === 0 ? this.#runs : [...this.#runs, NO_RUN, NO_RUN, ...repeats];
    const row = Buffer.alloc(ROW_HEADER_BYTES + (numbers.length / 2) * RUN_BYTES);
    row[0] = repeats.length === 0 ? 1 : 2;
    row.writeDoubleLE(this.lastUseMs, 1);
    row.writeDoubleLE(this.next, 9);
    for (const [i, value] of numbers.entries()) row.writeDoubleLE(value, ROW_HEADER_BYTES + 8 * i);
    return row;
  }

  /** Reads a row. */
  static decode(row: Buffer): ProducerSequence {
    const sequence = new ProducerSequence();
    sequence.lastUseMs = row.readDoubleLE(1);
    sequence.next = row.readDoubleLE(9);
    let into = sequence.#runs;
    for (let at = ROW_HEADER_BYTES; at < row.length; at += RUN_BYTES) {
      const first = row.readDoubleLE(at);
      if (first === NO_RUN) into = sequence.#repeats;
      else into.push(first, row.readDoubleLE(at + 8));
    }
    return sequence;
  }
}
