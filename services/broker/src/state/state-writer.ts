// Brings the state to the store, in batches: collect what has changed up to a position, wait until the log is
// durable up to there, commit the rows and the position together. One batch at a time; while one is under
// way, changes collect for the next.
//
// Invariant: the store never holds anything of a record that the log could still lose.

import type { Clock, Timer } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from './broker-state.ts';
import type { Batch, StateStore } from './store.ts';

const INTERVAL_MS = 250;
const FULL_RETRY_MS = 1000;
/** A batch that took long makes the next one wait this many times as long, so that writing stays a small part. */
const REST_FACTOR = 4;

/** Writes the state to the store from time to time. */
export class StateWriter {
  readonly #modules: { log: CommitLog; state: BrokerState; store: StateStore; clock: Clock };
  readonly #failed: (error: Error) => void;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #closing = false;
  #closed = false;
  /** Segment that the newest record was in when its time was noted. */
  #notedSegment: number;
  /** Position that the store holds up to. */
  position: number;

  /**
   * @param position position that the store holds up to
   * @param failed called when the store cannot be written; the process must end
   */
  constructor(
    position: number,
    modules: { log: CommitLog; state: BrokerState; store: StateStore; clock: Clock },
    failed: (error: Error) => void,
  ) {
    this.position = position;
    this.#modules = modules;
    this.#failed = failed;
    this.#notedSegment = startOfActive(modules.log);
  }

  /** Begins to write by itself. */
  start(): void {
    this.#schedule(INTERVAL_MS);
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#modules;
    this.#timer = clock.setTimer(delayMs, () => {
      const startMs = clock.monotonicMs();
      this.write().then(
        () => {
          const tookMs = clock.monotonicMs() - startMs;
          this.#schedule(Math.max(INTERVAL_MS, REST_FACTOR * tookMs));
        },
        (error: Error) => {
          if (!this.#closed) this.#failed(error);
        },
      );
    });
  }

  /** Writes what has changed until now; resolves when it is committed. */
  async write(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    this.#writing = this.#writeOnce().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async #writeOnce(): Promise<void> {
    const { log, state } = this.#modules;
    if (!state.dirty && this.position === log.next) return;
    this.#noteSegmentTimes();
    const batch = state.collect({ position: log.next, epoch: log.lastEpoch });
    await log.keptAt(batch.position);
    await this.#commit(batch);
    this.position = batch.position;
    batch.committed();
  }

  /** Commits a batch; while the disk is full, it waits, and the store stays as old as it is. */
  async #commit(batch: Batch): Promise<void> {
    const { store, clock } = this.#modules;
    for (;;) {
      try {
        await store.commit(batch);
        return;
      } catch (error) {
        if (this.#closing || !isFull(error)) throw error;
      }
      await clock.sleep(FULL_RETRY_MS);
    }
  }

  /** The segments that were written to since the last time have no record that is newer than now. */
  #noteSegmentTimes(): void {
    const { log, state } = this.#modules;
    const active = startOfActive(log);
    for (const { start } of log.segments) {
      if (start >= this.#notedSegment && start <= active) {
        state.segmentTimes.note(start, state.lastTimeMs);
      }
    }
    this.#notedSegment = active;
  }

  /** Writes everything a last time. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const { log } = this.#modules;
    // Replicas that lack something may never get it: the store stays older.
    if (log.confirmed < log.next) {
      this.abandon();
      return;
    }
    this.#closing = true;
    this.#timer?.cancel();
    try {
      await this.write();
    } catch (error) {
      // The log has everything that the store lacks.
      if (!isFull(error)) throw error;
    } finally {
      this.#closed = true;
    }
  }

  /** Stops without writing, when the log or the store has failed. */
  abandon(): void {
    this.#closing = true;
    this.#closed = true;
    this.#timer?.cancel();
  }
}

function isFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOSPC';
}

function startOfActive(log: CommitLog): number {
  return log.segmentAt(log.next)?.start ?? log.start;
}
