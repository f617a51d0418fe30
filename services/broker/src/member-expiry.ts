// Remembers when broadcasting members were last connected, and forgets those that never came back.

import { type Clock, type Logger, TernError, type Timer } from '@ternmq/runtime';
import type { Delivery } from './delivery/delivery.ts';
import type { TopicProgress } from './state/groups.ts';
import type { StateLog } from './state/state-log.ts';

const LOOK_EVERY_MS = 3_600_000;
/** Members that one record tells of. */
const MEMBERS_A_RECORD_MAX = 10_000;

/** Forgets members that never came back. */
export class MemberExpiry {
  readonly #options: { readonly expiryMs: number; readonly retentionMs: number };
  readonly #stateLog: StateLog;
  readonly #delivery: Delivery;
  readonly #logger: Logger;
  readonly #timer: Timer;

  /**
   * @param options.expiryMs how long a member is kept at least after it was last connected, in milliseconds
   * @param options.retentionMs how long messages are kept where a topic does not say, in milliseconds
   */
  constructor(
    options: { readonly expiryMs: number; readonly retentionMs: number },
    modules: { stateLog: StateLog; delivery: Delivery; clock: Clock; logger: Logger },
  ) {
    this.#options = options;
    this.#stateLog = modules.stateLog;
    this.#delivery = modules.delivery;
    this.#logger = modules.logger;
    // The first look comes late enough for members to come back after a restart.
    this.#timer = modules.clock.every(LOOK_EVERY_MS, () => this.#look());
  }

  #look(): void {
    const nowMs = this.#stateLog.timeMs();
    const seen: number[] = [];
    const ended: number[] = [];
    for (const progress of this.#stateLog.state.groups.allProgress()) {
      if (progress.consumerId === '') continue;
      if (this.#delivery.wasConnected(progress)) seen.push(progress.id);
      else if (nowMs - progress.seenMs > this.#keptMs(progress)) ended.push(progress.id);
    }
    try {
      for (const progressIds of inParts(seen)) {
        this.#stateLog.change({
          case: 'membersSeen',
          value: { $typeName: 'ternmq.log.v1.MembersSeen', progressIds },
        });
      }
      this.#delivery.forgetConnections();
      for (const progressIds of inParts(ended)) {
        this.#stateLog.change({
          case: 'progressEnded',
          value: { $typeName: 'ternmq.log.v1.ProgressEnded', progressIds },
        });
      }
    } catch (error) {
      // The disk is full or the log has stopped: the next look tries again.
      if (!(error instanceof TernError)) throw error;
      this.#logger.warn({ error }, 'broadcasting members could not be looked after');
      return;
    }
    if (ended.length > 0) {
      this.#logger.info(
        { members: ended.length },
        'forgot broadcasting members that never came back',
      );
    }
  }

  /** At least as long as messages of the topic are kept: who comes back within that time misses none of them. */
  #keptMs({ topicId }: TopicProgress): number {
    const topic = this.#stateLog.state.topics.findById(topicId);
    const retentionMs = topic?.settings.retentionMs || this.#options.retentionMs;
    return Math.max(this.#options.expiryMs, retentionMs);
  }

  /** Stops looking. */
  close(): void {
    this.#timer.cancel();
  }
}

function inParts(ids: readonly number[]): number[][] {
  const parts: number[][] = [];
  for (let at = 0; at < ids.length; at += MEMBERS_A_RECORD_MAX) {
    parts.push(ids.slice(at, at + MEMBERS_A_RECORD_MAX));
  }
  return parts;
}
