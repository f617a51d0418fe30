// Builds the queue index anew below a snapshot: the tables are those of the snapshot, and the index is made from the
// messages that the log still keeps before it.

import { RECORD_HEADER_BYTES } from '../log/record.ts';
import type { BrokerState } from './broker-state.ts';
import { type Labels, readLabels } from './message-labels.ts';
import {
  MESSAGE_HEADER_BYTES,
  messageBytesOf,
  offsetOf,
  queueIdOf,
  storeTimeOf,
  topicIdOf,
} from './message-record.ts';
import { CHUNK_ENTRIES, type Queue } from './queue.ts';

/** Builds the index of a state that was taken from a snapshot. */
export class IndexRebuild {
  readonly #state: BrokerState;
  readonly #labels: Labels = { tagHash: 0, keyHash: 0 };
  /** How far each queue is in the snapshot, and whether one of its messages was found yet. */
  readonly #targets = new Map<Queue, { readonly next: number; started: boolean }>();

  constructor(state: BrokerState) {
    this.#state = state;
    for (const topic of state.topics.all()) {
      for (const queue of topic.queues) {
        this.#targets.set(queue, { next: queue.next, started: false });
      }
    }
  }

  /** Adds a message that lies below the snapshot to the index, and changes nothing else. */
  add(buffer: Buffer, view: DataView, at: number, length: number, position: number): void {
    const body = at + RECORD_HEADER_BYTES;
    const queue = this.#state.topics.findById(topicIdOf(view, body))?.queues[queueIdOf(view, body)];
    const target = queue === undefined ? undefined : this.#targets.get(queue);
    if (queue === undefined || target === undefined) return;
    const offset = offsetOf(view, body);
    // A message that was appended again, with its old offset, has a row of its own. What lies before the log's
    // start is on its way out, and may be an older copy of such a message.
    if (position < this.#state.logStart) return;
    const relocated = queue.relocated?.get(offset);
    const timeMs = storeTimeOf(view, body);
    const messageAt = body + MESSAGE_HEADER_BYTES;
    const messageEnd = messageAt + messageBytesOf(view, body);
    this.#state.latest.note(queue, offset, timeMs, position, buffer, messageAt, messageEnd);
    if (relocated !== undefined && position <= relocated.position) return;
    if (!target.started) {
      target.started = true;
      queue.startIndexAt(offset);
    }
    if (offset < queue.next || offset >= target.next) return;
    while (queue.next < offset) this.#state.addMessage(queue, position, 0, 0, 0, timeMs, 0, 0);
    readLabels(buffer, view, messageAt, messageEnd, at + length, this.#labels);
    const { tagHash, keyHash } = this.#labels;
    this.#state.addMessage(queue, position, length, tagHash, keyHash, timeMs, 0, 0);
    if (!queue.sparse) this.#state.addKeys(queue, buffer, messageAt, messageEnd);
  }

  /** The log has been read up to the snapshot. */
  end(position: number): void {
    for (const [queue, { next, started }] of this.#targets) {
      if (!started) queue.startIndexAt(next);
      this.#state.resent.trim(queue, Math.floor(queue.begin / CHUNK_ENTRIES));
      while (queue.next < next) {
        this.#state.addMessage(queue, position, 0, 0, 0, queue.lastStoreTimeMs, 0, 0);
      }
      if (next > 0) this.#state.changed(queue);
    }
  }
}
