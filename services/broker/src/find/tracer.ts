// Traces messages in the background: a few at a time, the others wait.

import { type Clock, TernError, type Timer } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { MessageTrace } from './message-trace.ts';
import type { Place, TraceEvent } from './trace-event.ts';

/** Traces that run, and that wait for others to end, at most so long. */
const RUNNING_MAX = 2;
const WAITING_MAX = 16;
const WAIT_MS_MAX = 30_000;
/** Records that are decoded before other work has its turn. */
const DECODED_A_TURN = 100;
/** Bytes of the log after which the caller hears how far it is. */
const REPORT_BYTES = 32 << 20;

/** How far a trace is. */
export interface TraceReport {
  /** What was found since the report before, in the order of the log. */
  readonly events: readonly TraceEvent[];
  /** Up to where the log was searched, and up to where it will be. */
  readonly position: number;
  readonly end: number;
  /** The log from the time of the message on is not complete any more. */
  readonly beginningGone: boolean;
  /** Bytes that could not be searched because they are damaged or were deleted meanwhile. */
  readonly lostBytes: number;
  /** There are more events than a trace may have. */
  readonly truncated: boolean;
}

/** Traces messages. */
export class Tracer {
  readonly #log: CommitLog;
  readonly #state: BrokerState;
  readonly #clock: Clock;
  #running = 0;
  readonly #waiting: { start(): void; timer: Timer }[] = [];

  constructor(modules: { log: CommitLog; state: BrokerState; clock: Clock }) {
    this.#log = modules.log;
    this.#state = modules.state;
    this.#clock = modules.clock;
  }

  /**
   * Searches the log for what happened to a message that is or was in a queue of this broker, up to what is visible now.
   * Throws RESOURCE_EXHAUSTED (TOO_MANY_TRACES), and the disk's errors.
   */
  async *trace(place: Place, signal: AbortSignal): AsyncGenerator<TraceReport> {
    await this.#slot(signal);
    try {
      yield* this.#run(place, signal);
    } finally {
      this.#running--;
      this.#waiting.shift()?.start();
    }
  }

  async *#run(place: Place, signal: AbortSignal): AsyncGenerator<TraceReport> {
    const { topics, groups, held } = this.#state;
    const queue = topics.findById(place.topicId)?.queues[place.queueId];
    const { position = 0, length = 0 } =
      queue === undefined ? {} : this.#state.locate(queue, place.offset);
    const copied = queue?.relocated?.has(place.offset) === true;
    const known = length > 0 && !copied && position >= this.#log.start;
    const { start } = this.#log;
    const end = this.#log.visible;
    const trace = new MessageTrace(place, groups, held.queue?.topicId ?? 0);
    const walk = this.#log.read.walk(known ? position : start, end, trace);
    let reportAt = walk.position + REPORT_BYTES;
    const report = (): TraceReport => ({
      events: trace.take(),
      position: walk.position,
      end,
      beginningGone: !known && start > 0 && (copied || !trace.stored),
      lostBytes: walk.lostBytes,
      truncated: trace.full,
    });
    while (!walk.ended && !trace.full && !signal.aborted) {
      await walk.step();
      if (walk.position >= reportAt) {
        reportAt = walk.position + REPORT_BYTES;
        yield report();
      }
      if (trace.decoded < DECODED_A_TURN) continue;
      trace.decoded = 0;
      await new Promise<void>((resolve) => this.#clock.defer(resolve));
    }
    if (!signal.aborted) yield report();
  }

  async #slot(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < RUNNING_MAX) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX) throw tooMany();
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        waiting.timer.cancel();
        signal.removeEventListener('abort', aborted);
      };
      const remove = (): void => {
        leave();
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      };
      const aborted = (): void => {
        remove();
        reject(signal.reason);
      };
      const waiting = {
        start: (): void => {
          leave();
          this.#running++;
          resolve();
        },
        timer: this.#clock.setTimer(WAIT_MS_MAX, () => {
          remove();
          reject(tooMany());
        }),
      };
      this.#waiting.push(waiting);
      signal.addEventListener('abort', aborted);
    });
  }
}

function tooMany(): TernError {
  return new TernError(
    'RESOURCE_EXHAUSTED',
    'TOO_MANY_TRACES',
    `this broker traces ${RUNNING_MAX} messages at a time, and others wait; try again later`,
    { retryAfterMs: 10_000 },
  );
}
