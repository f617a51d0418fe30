// Applies the records of messages to the queues.

import { RECORD_HEADER_BYTES } from '../log/record.ts';
import type { BrokerState } from './broker-state.ts';
import { type Labels, readLabels } from './message-labels.ts';
import {
  MESSAGE_HEADER_BYTES,
  messageBytesOf,
  offsetOf,
  producerIdOf,
  queueIdOf,
  sequenceOf,
  storeTimeOf,
  topicIdOf,
} from './message-record.ts';
import { keyHashOfMessage } from './message-tag.ts';
import { readHeld, readReleased, TrailerTag, trailerTag } from './message-trailer.ts';

const labels: Labels = { tagHash: 0, keyHash: 0 };

/** Applies a message record read from the log. */
export function applyMessage(
  state: BrokerState,
  buffer: Buffer,
  view: DataView,
  at: number,
  length: number,
  position: number,
): void {
  const body = at + RECORD_HEADER_BYTES;
  const topic = state.topics.findById(topicIdOf(view, body));
  const queue = topic?.queues[queueIdOf(view, body)];
  const offset = offsetOf(view, body);
  const timeMs = storeTimeOf(view, body);
  state.lastTimeMs = Math.max(state.lastTimeMs, timeMs);
  const messageAt = body + MESSAGE_HEADER_BYTES;
  const messageEnd = messageAt + messageBytesOf(view, body);
  const recordEnd = at + length;
  const trailer = trailerTag(buffer, messageEnd, recordEnd);
  const dueMs = trailer === TrailerTag.HELD ? readHeld(view, messageEnd).dueMs : 0;
  if (queue !== undefined && offset < queue.next) {
    // What it was moved from was removed by the first record.
    if (trailer === TrailerTag.HELD && !state.isLocated(queue, offset)) {
      state.held.found(offset, dueMs);
    }
    const held = trailer === TrailerTag.HELD;
    const label = held ? dueMs : keyHashOfMessage(buffer, messageAt, messageEnd);
    state.relocated(queue, offset, position, length, label);
    // The state may have been built from a log that has only this copy.
    state.latest.note(queue, offset, timeMs, position, buffer, messageAt, messageEnd);
    return;
  }
  if (queue !== undefined) {
    // A gap is what corruption took: those offsets stay, and answer that they are lost.
    while (queue.next < offset) state.addMessage(queue, position, 0, 0, 0, timeMs, 0, 0);
    readLabels(buffer, view, messageAt, messageEnd, recordEnd, labels);
    const { tagHash, keyHash } = labels;
    const producerId = producerIdOf(view, body);
    const sequence = sequenceOf(view, body);
    state.addMessage(queue, position, length, tagHash, keyHash, timeMs, producerId, sequence);
    if (trailer === TrailerTag.HELD) {
      state.held.add(offset, dueMs);
      if (dueMs === 0) state.transactions.unclaimed.add(offset);
    } else {
      state.addKeys(queue, buffer, messageAt, messageEnd);
      state.latest.note(queue, offset, timeMs, position, buffer, messageAt, messageEnd);
    }
  }
  if (trailer === TrailerTag.ORIGIN) state.applyOrigin(buffer.subarray(messageEnd, recordEnd));
  else if (trailer === TrailerTag.RELEASED) {
    state.heldDone(readReleased(view, messageEnd).offset);
  }
}
