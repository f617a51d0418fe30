// What one idempotent producer has sent to one queue: enough to know a frame that is sent again, and to answer
// it with the offsets of the first time.
//
// Sequences count the producer's messages in the queue, so what is stored is a list of runs in which sequence
// and offset rise together; a run begins where another producer's messages came between.
//
//   row: 0 version 1 = 1 | 1 last use 8, ms | 9 next sequence 8 | 17 runs, 16 bytes each: sequence 8, offset 8
//
// Bound: 512 runs; a frame older than the oldest run is refused as SEQUENCE_TOO_OLD. An SDK has at most 512
// frames in flight for a queue, so that does not happen to what may honestly be sent again.

const RUNS_MAX = 512;
const ROW_HEADER_BYTES = 17;
const RUN_BYTES = 16;

/** One producer's sequences in one queue. */
export class ProducerSequence {
  /** The sequence that is expected next. */
  next = 0;
  /** When the producer was last heard, in milliseconds since the Unix epoch. */
  lastUseMs = 0;
  /** Sequence and offset of each run's first message, in turn. */
  #runs: number[] = [];

  /** Notes a stored message. */
  stored(sequence: number, offset: number, timeMs: number): void {
    const runs = this.#runs;
    const last = runs.length - 2;
    const continues =
      last >= 0 &&
      sequence === this.next &&
      offset - (runs[last + 1] as number) === sequence - (runs[last] as number);
    if (!continues) {
      if (sequence !== this.next) runs.length = 0;
      if (runs.length >= 2 * RUNS_MAX) runs.splice(0, RUNS_MAX);
      runs.push(sequence, offset);
    }
    this.next = sequence + 1;
    this.lastUseMs = timeMs;
  }

  /** The offset that a message was stored at; undefined when that is not known any more. */
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
    const row = Buffer.alloc(ROW_HEADER_BYTES + (this.#runs.length / 2) * RUN_BYTES);
    row[0] = 1;
    row.writeDoubleLE(this.lastUseMs, 1);
    row.writeDoubleLE(this.next, 9);
    for (const [i, value] of this.#runs.entries())
      row.writeDoubleLE(value, ROW_HEADER_BYTES + 8 * i);
    return row;
  }

  /** Reads a row. */
  static decode(row: Buffer): ProducerSequence {
    const sequence = new ProducerSequence();
    sequence.lastUseMs = row.readDoubleLE(1);
    sequence.next = row.readDoubleLE(9);
    for (let at = ROW_HEADER_BYTES; at < row.length; at += 8)
      sequence.#runs.push(row.readDoubleLE(at));
    return sequence;
  }
}
