// The newest bytes of the log, in a ring of equal slabs. A record is built in the current slab, written to
// the file from there, and read from there as long as the slab is not used again. A record never crosses a
// slab, and a slab holds one contiguous stretch of positions:
//
//   slab.start            written               slab.end                   slab.buffer.length
//     |--- in the file ----|--- not yet ----------|--- free -----------------|
//
// Slabs are allocated one after the other as they are needed; the system gives them memory page by page.

/** A stretch of the log in memory. */
export interface Slab {
  readonly buffer: Buffer;
  readonly view: DataView;
  /** Position of the first byte of the buffer. */
  start: number;
  /** Position behind the last complete record. */
  end: number;
}

/** The newest bytes of the log. */
export class TailCache {
  readonly #slabBytes: number;
  readonly #slabsMax: number;
  readonly #slabs: Slab[] = [];
  #current = -1;

  /**
   * @param options.slabBytes size of a slab; larger than any record
   * @param options.slabs how many there are at most
   */
  constructor(options: { slabBytes: number; slabs: number }) {
    this.#slabBytes = options.slabBytes;
    this.#slabsMax = options.slabs;
  }

  /** Begins a slab at a position; the oldest one is used again when there are enough. */
  next(position: number): Slab {
    this.#current = (this.#current + 1) % this.#slabsMax;
    let slab = this.#slabs[this.#current];
    if (slab === undefined) {
      const buffer = Buffer.allocUnsafeSlow(this.#slabBytes);
      const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
      slab = { buffer, view, start: position, end: position };
      this.#slabs.push(slab);
    }
    slab.start = position;
    slab.end = position;
    return slab;
  }

  /**
   * The slab that holds `length` bytes from a position on, if they are here. What it holds is overwritten
   * when the slab is used again: read or copy it before returning to the event loop.
   */
  find(position: number, length: number): Slab | undefined {
    for (const slab of this.#slabs) {
      if (position >= slab.start && position + length <= slab.end) return slab;
    }
    return undefined;
  }
}
