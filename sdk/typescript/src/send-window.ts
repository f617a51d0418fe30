// How many bytes of messages are under way at once. Who finds no room waits, and is let in strictly in order: two
// messages of one ordering key never overtake each other here.

import type { Outgoing } from './outgoing.ts';

/** Forgets what was let in after so many. */
const COMPACT_AT = 1024;

/** The bytes under way, and who waits for room. */
export class SendWindow {
  readonly #bytesMax: number;
  readonly #start: (item: Outgoing) => void;
  #bytes = 0;
  /** Those from `#head` on wait. */
  #waiting: Outgoing[] = [];
  #head = 0;
  #granting = false;

  /**
   * @param bytesMax no more are let in while so many are under way; the last one may go past it
   * @param start called with each message that is let in
   */
  constructor(bytesMax: number, start: (item: Outgoing) => void) {
    this.#bytesMax = bytesMax;
    this.#start = start;
  }

  /** Lets a message in, now or when there is room. */
  enter(item: Outgoing): void {
    this.#waiting.push(item);
    this.#grant();
  }

  /** A message has its outcome. */
  leave(item: Outgoing): void {
    if (!item.admitted) return;
    item.admitted = false;
    this.#bytes -= item.bytes;
    this.#grant();
  }

  #grant(): void {
    // Starting a message may end it at once, which leads here again.
    if (this.#granting) return;
    this.#granting = true;
    while (this.#head < this.#waiting.length && this.#bytes < this.#bytesMax) {
      const item = this.#waiting[this.#head++] as Outgoing;
      if (item.done) continue;
      item.admitted = true;
      this.#bytes += item.bytes;
      this.#start(item);
    }
    if (this.#head === this.#waiting.length || this.#head >= COMPACT_AT) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    this.#granting = false;
  }

  /** Messages that wait for room. */
  waiting(): Outgoing[] {
    return this.#waiting.slice(this.#head).filter(({ done }) => !done);
  }
}
