// Reads ProduceResponse: what became of frames.

import { FieldReader } from './varint.ts';

/** What became of one frame. */
export interface Outcome {
  frameId: number;
  queueId: number;
  baseOffset: number;
  topicId: number;
  /** Empty when the frame was stored. */
  reason: string;
  message: string;
  /** Only when the messages are not next to each other, or some are repeats. */
  parts: OutcomePart[] | undefined;
}

/** A stretch of messages. */
export interface OutcomePart {
  /** Index in the frame of its first message, and where that is. */
  firstIndex: number;
  offset: number;
  /** When it is not the queue of the frame. */
  queueId: number | undefined;
  /** The messages were not stored; these are the places of those that they repeat. */
  duplicate: boolean;
}

/** Calls with every outcome of a response, in order. The object is used again for the next one. */
export function readOutcomes(bytes: Buffer, visit: (outcome: Outcome) => void): void {
  const reader = new FieldReader(bytes);
  while (reader.more) {
    const tag = reader.varint();
    if (tag !== 0x0a) {
      reader.skip(tag);
      continue;
    }
    const { start, end } = reader.skipBytes();
    visit(readOutcome(new FieldReader(bytes, start, end)));
  }
}

function readOutcome(reader: FieldReader): Outcome {
  const outcome: Outcome = {
    frameId: 0,
    queueId: 0,
    baseOffset: 0,
    topicId: 0,
    reason: '',
    message: '',
    parts: undefined,
  };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0d) outcome.frameId = reader.fixed32();
    else if (tag === 0x15) outcome.queueId = reader.fixed32();
    else if (tag === 0x19) outcome.baseOffset = reader.fixed64();
    else if (tag === 0x25) outcome.topicId = reader.fixed32();
    else if (tag === 0x2a) outcome.reason = reader.text();
    else if (tag === 0x32) outcome.message = reader.text();
    else if (tag === 0x3a) {
      const { start, end } = reader.skipBytes();
      outcome.parts ??= [];
      outcome.parts.push(readPart(new FieldReader(reader.bytes, start, end)));
    } else reader.skip(tag);
  }
  return outcome;
}

function readPart(reader: FieldReader): OutcomePart {
  const part: OutcomePart = { firstIndex: 0, offset: 0, queueId: undefined, duplicate: false };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0d) part.firstIndex = reader.fixed32();
    else if (tag === 0x11) part.offset = reader.fixed64();
    else if (tag === 0x1d) part.queueId = reader.fixed32();
    else if (tag === 0x20) part.duplicate = reader.varint() !== 0;
    else reader.skip(tag);
  }
  return part;
}
