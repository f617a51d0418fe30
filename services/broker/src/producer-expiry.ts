// Forgets idempotent producers that have been silent for a day: what they sent is in the log, and nobody sends it again.

import type { Clock, Logger, Timer } from '@ternmq/runtime';
import { TernError } from '@ternmq/runtime';
import type { StateLog } from './state/state-log.ts';

/** How long a producer is known after its last frame, in milliseconds; see ProduceRequest.producer_id. */
export const PRODUCER_SILENT_MS: number = 24 * 3_600_000;
const LOOK_EVERY_MS = 600_000;
/** Producers that one record forgets; the others follow with the next look. */
const EXPIRED_AT_ONCE_MAX = 10_000;

/** Forgets silent producers. */
export class ProducerExpiry {
  readonly #stateLog: StateLog;
  readonly #logger: Logger;
  readonly #timer: Timer;

  constructor(modules: { stateLog: StateLog; clock: Clock; logger: Logger }) {
    this.#stateLog = modules.stateLog;
    this.#logger = modules.logger;
    this.#timer = modules.clock.every(LOOK_EVERY_MS, () => this.#look());
  }

  #look(): void {
    const producerIds = this.#silent(this.#stateLog.timeMs() - PRODUCER_SILENT_MS);
    if (producerIds.length === 0) return;
    try {
      this.#stateLog.change({
        case: 'producersExpired',
        value: { $typeName: 'ternmq.log.v1.ProducersExpired', producerIds },
      });
    } catch (error) {
      // The disk is full or the log has stopped: the next look tries again.
      if (!(error instanceof TernError)) throw error;
      this.#logger.warn({ error }, 'silent producers could not be forgotten');
    }
  }

  /** Producers that no queue has heard since. */
  #silent(beforeMs: number): bigint[] {
    const lastUses = new Map<number, number>();
    for (const topic of this.#stateLog.state.topics.all()) {
      for (const { producers } of topic.queues) {
        if (producers === undefined) continue;
        for (const [producerId, { lastUseMs }] of producers) {
          lastUses.set(producerId, Math.max(lastUseMs, lastUses.get(producerId) ?? 0));
        }
      }
    }
    const silent: bigint[] = [];
    for (const [producerId, lastUseMs] of lastUses) {
      if (lastUseMs < beforeMs && silent.length < EXPIRED_AT_ONCE_MAX)
        silent.push(BigInt(producerId));
    }
    return silent;
  }

  /** Stops looking. */
  close(): void {
    this.#timer.cancel();
  }
}
