// One queue as an ordered group sees it: which of its messages may be handed out to whom. It follows the progress by
// listening to it; what nobody has recorded, who holds a key, it is told.

import type { ProgressObserver } from '../progress/progress-observer.ts';
import type { QueueProgress } from '../progress/queue-progress.ts';
import { HELD_MS } from '../progress/retry-table.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { CHUNK_ENTRIES, entryKeyHash, type Queue } from '../state/queue.ts';
import type { LeaseGate } from './collect.ts';
import { KeyLocks } from './key-locks.ts';

/** Messages of a queue that may be passed over while their keys are held by others; then the queue waits for them. */
const PASSED_OVER_MAX = 4096;
/** Keys, and messages that are due, that are looked at for one frame; the others come with the next ones. */
const KEYS_A_FRAME = 1024;

/** A message that waits and may be handed out. */
export interface Candidate {
  readonly offset: number;
  /** Deliveries so far. */
  readonly attempt: number;
}

/** One queue of an ordered group. */
export class OrderedQueue implements ProgressObserver {
  readonly #state: BrokerState;
  readonly #queue: Queue;
  readonly #progress: QueueProgress;
  #locks = new KeyLocks();
  /** The full chunk of the index that was read last. */
  #chunk = -1;
  #entries: Uint32Array = new Uint32Array();

  constructor(state: BrokerState, queue: Queue, progress: QueueProgress) {
    this.#state = state;
    this.#queue = queue;
    this.#progress = progress;
    progress.observer = this;
    this.reset();
  }

  /** Follows the progress no more. */
  close(): void {
    this.#progress.observer = undefined;
  }

  /** Builds the locks from the progress; who holds what is forgotten. */
  reset(): void {
    this.#locks = new KeyLocks();
    this.#progress.forEachUnsettled((offset, leased) => {
      const key = this.#key(offset);
      if (key === 0) return;
      if (leased) this.#locks.leased(key, offset, undefined);
      else this.#locks.waits(key, offset);
    });
  }

  /** Hash of the ordering key of a message; most that are asked for lie in one chunk of the index. */
  #key(offset: number): number {
    const chunk = Math.floor(offset / CHUNK_ENTRIES);
    if (chunk !== this.#chunk) {
      // The open chunk moves as it grows, and leaves the memory and comes back elsewhere.
      if (offset < this.#queue.begin || chunk === this.#queue.openChunk) {
        return this.#state.keyHashOf(this.#queue, offset);
      }
      this.#entries = this.#state.chunk(this.#queue, chunk);
      this.#chunk = chunk;
    }
    return entryKeyHash(this.#entries, offset % CHUNK_ENTRIES);
  }

  settled(from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const key = this.#key(offset);
      if (key !== 0) this.#locks.settled(key, offset);
    }
  }

  waits(from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const key = this.#key(offset);
      if (key !== 0) this.#locks.waits(key, offset);
    }
  }

  /** Hands new messages to a holder, or passes them over. */
  gateFor(holder: object): LeaseGate {
    const locks = this.#locks;
    return {
      admit(offset, key) {
        if (key === 0) return 'yes';
        if (locks.admits(key, holder)) {
          locks.leased(key, offset, holder);
          return 'yes';
        }
        if (locks.waiting >= PASSED_OVER_MAX) return 'stop';
        locks.waits(key, offset);
        return 'later';
      },
    };
  }

  /** Messages that wait and may be handed to a holder now, at most `max`; tell of each that is (`handedOut`). */
  candidates(holder: object, nowMs: number, max: number): Candidate[] {
    const found = this.#dueNow(holder, nowMs, max);
    for (const { offset } of this.#locks.candidates(holder, KEYS_A_FRAME)) {
      if (found.length >= max) break;
      const waiting = this.#progress.waiting(offset);
      if (waiting?.dueMs === HELD_MS) found.push({ offset, attempt: waiting.attempt });
    }
    return found;
  }

  /** What has failed is due in its own time, and what has no key waits for nobody. */
  #dueNow(holder: object, nowMs: number, max: number): Candidate[] {
    for (let looked = max; ; looked *= 4) {
      const due = this.#progress.dueRetries(nowMs, looked);
      const found = due.filter(({ offset }) => {
        const key = this.#key(offset);
        return key === 0 || this.#locks.admitsWaiting(key, offset, holder);
      });
      // What is held back must not stand in the way of what is due behind it.
      if (found.length >= max || due.length < looked || looked >= KEYS_A_FRAME) {
        return found.slice(0, max);
      }
    }
  }

  /** A message that waited is handed out. */
  handedOut(offset: number, holder: object): void {
    const key = this.#key(offset);
    if (key !== 0) this.#locks.leased(key, offset, holder);
  }

  /** The next message of the key of one that was handed out, when that may follow at once. */
  following(offset: number, holder: object): Candidate | undefined {
    const key = this.#key(offset);
    const next = key === 0 ? undefined : this.#locks.firstWaiting(key);
    if (next === undefined || !this.#locks.admitsWaiting(key, next, holder)) return undefined;
    const waiting = this.#progress.waiting(next);
    return waiting?.dueMs === HELD_MS ? { offset: next, attempt: waiting.attempt } : undefined;
  }
}
