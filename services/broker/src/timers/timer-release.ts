// Releases delayed messages when they are due, those due longest first.
//
//   asleep until the first is due -> releasing, batch by batch -> asleep

import { type Clock, type Logger, TernError, type Timer } from '@ternmq/runtime';
import type { EvenClock } from '../held/even-clock.ts';
import type { HeldRelease } from '../held/held-release.ts';
import type { BrokerState } from '../state/broker-state.ts';
import type { Queue } from '../state/queue.ts';

/** Most messages that are released before other work has its turn, and about how many bytes. */
const BATCH_MESSAGES_MAX = 256;
const BATCH_BYTES_MAX = 4 << 20;
/** Pause after the log could not take a message, or the disk not be read. */
const FAILED_PAUSE_MS = 1000;
/** Longest sleep: the clock's timers and the time of delayed messages may drift. */
const SLEEP_MAX_MS = 60_000;

/** Releases delayed messages. */
export class TimerRelease {
  readonly #aheadMaxMs: number;
  readonly #state: BrokerState;
  readonly #held: HeldRelease;
  readonly #time: EvenClock;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #timer: Timer | undefined;
  /** Time that the timer is set to. */
  #wakeMs = Number.POSITIVE_INFINITY;
  #running: Promise<void> | undefined;
  #closed = false;
  /** Messages released since the start of the process. */
  released = 0;

  /** @param aheadMaxMs longest time ahead that a message may be delivered, in milliseconds */
  constructor(
    aheadMaxMs: number,
    modules: {
      state: BrokerState;
      held: HeldRelease;
      time: EvenClock;
      clock: Clock;
      logger: Logger;
    },
  ) {
    this.#aheadMaxMs = aheadMaxMs;
    this.#state = modules.state;
    this.#held = modules.held;
    this.#time = modules.time;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
  }

  /** Begins to release; what fell due while the broker was down comes first. */
  start(): void {
    this.added();
  }

  /**
   * When a message is due that says so: in milliseconds since the Unix epoch.
   *
   * @param due a time, or minus a delay, as FrameScanner.dues
   */
  dueMs(due: number): number {
    return due < 0 ? this.#time.nowMs() - due : due;
  }

  /** Why messages cannot be delayed so long; undefined when they can. */
  check(dues: Float64Array, count: number): { reason: string; message: string } | undefined {
    const latestMs = this.#time.nowMs() + this.#aheadMaxMs;
    for (let i = 0; i < count; i++) {
      if (this.dueMs(dues[i] as number) <= latestMs) continue;
      const hours = Math.floor(this.#aheadMaxMs / 3_600_000);
      return {
        reason: 'DELAY_TOO_LONG',
        message: `a message is delayed by more than ${hours} h, which is this broker's limit (--delay-max)`,
      };
    }
    return undefined;
  }

  /** There may be a message that is due before all others. */
  added(): void {
    const dueMs = this.#state.held.firstDueMs();
    if (this.#running !== undefined || this.#closed || dueMs >= this.#wakeMs) return;
    this.#sleep(Math.max(0, dueMs - this.#time.nowMs()));
  }

  #sleep(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wakeMs = Number.POSITIVE_INFINITY;
    if (delayMs === Number.POSITIVE_INFINITY) return;
    const sleepMs = Math.min(delayMs, SLEEP_MAX_MS);
    this.#wakeMs = this.#time.nowMs() + sleepMs;
    if (sleepMs === 0) this.#clock.defer(() => this.#wake());
    else this.#timer = this.#clock.setTimer(sleepMs, () => this.#wake());
  }

  #wake(): void {
    this.#wakeMs = Number.POSITIVE_INFINITY;
    if (this.#running !== undefined || this.#closed) return;
    this.#running = this.#releaseDue().finally(() => {
      this.#running = undefined;
      this.added();
    });
  }

  async #releaseDue(): Promise<void> {
    const { held } = this.#state;
    while (!this.#closed && held.firstDueMs() <= this.#time.nowMs()) {
      const batch = this.#takeBatch();
      try {
        this.released += await this.#held.release([...batch.keys()]);
      } catch (error) {
        for (const [offset, dueMs] of batch) {
          if (held.isPending(offset)) held.putBack(offset, dueMs);
        }
        if (!(error instanceof TernError) && !isIoError(error)) throw error;
        this.#logger.error({ error }, 'delayed messages cannot be released; it is tried again');
        await this.#clock.sleep(FAILED_PAUSE_MS);
      }
    }
  }

  /** Due messages, those due longest first: their due times by offset. */
  #takeBatch(): Map<number, number> {
    const { held } = this.#state;
    const batch = new Map<number, number>();
    const nowMs = this.#time.nowMs();
    let bytes = 0;
    while (batch.size < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX) {
      const dueMs = held.firstDueMs();
      if (dueMs > nowMs) break;
      const offset = held.take();
      bytes += this.#state.locate(held.queue as Queue, offset).length;
      batch.set(offset, dueMs);
    }
    return batch;
  }

  /** Stops; resolves when a batch under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running?.catch(() => {});
  }
}

function isIoError(error: unknown): boolean {
  return typeof (error as NodeJS.ErrnoException).code === 'string' && error instanceof Error;
}
