// Frames that wait until the log has come to their end, in the order of the log. When it has, each
// stream gets all its outcomes in one gRPC message.
//
//   ProduceResponse: 0x0a length FrameOutcome …
//   FrameOutcome: 0x0d frame id 4 | 0x15 queue id 4 | 0x19 base offset 8 | 0x25 topic id 4, 24 bytes, when it was stored

import { create, toBinary } from '@bufbuild/protobuf';
import {
  type FrameOutcome,
  type ProduceResponse,
  ProduceResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { viewOf, writeUint64 } from '../log/record.ts';

/** Where outcomes go. */
export interface OutcomeSink {
  /** Takes a ProduceResponse with the outcomes of so many frames. */
  send(bytes: Buffer, frames: number): void;
}

type RareOutcome = Omit<FrameOutcome, '$typeName' | '$unknown'>;

const OUTCOME_BYTES = 24;

interface Batch {
  count: number;
  /** Frame id, queue id, base offset, topic id of each, in turn. */
  readonly plain: number[];
  /** Outcomes that do not have the plain shape, by their place among the others. */
  rare: Map<number, RareOutcome> | undefined;
}

/** Frames of all streams that wait for the log. */
export class PendingFrames {
  #positions: number[] = [];
  #sinks: OutcomeSink[] = [];
  #outcomes: number[] = [];
  #rare = new Map<number, RareOutcome>();
  #head = 0;
  /** Frames taken from the front since the last time the arrays were empty, to number the rare ones. */
  #base = 0;

  /** Frames that wait. */
  get size(): number {
    return this.#positions.length - this.#head;
  }

  /** Adds a frame that is stored when the log has come to `position`. */
  add(
    position: number,
    sink: OutcomeSink,
    frameId: number,
    queueId: number,
    baseOffset: number,
    topicId: number,
  ): void {
    this.#positions.push(position);
    this.#sinks.push(sink);
    this.#outcomes.push(frameId, queueId, baseOffset, topicId);
  }

  /** Adds a frame that was refused, or stored in several parts. */
  addRare(position: number, sink: OutcomeSink, outcome: RareOutcome): void {
    this.#rare.set(this.#base + this.#positions.length, outcome);
    this.add(position, sink, 0, 0, 0, 0);
  }

  /** Answers every frame up to a position. */
  release(reached: number): void {
    const batches = new Map<OutcomeSink, Batch>();
    while (
      this.#head < this.#positions.length &&
      (this.#positions[this.#head] as number) <= reached
    ) {
      const index = this.#head++;
      const sink = this.#sinks[index] as OutcomeSink;
      let batch = batches.get(sink);
      if (batch === undefined) {
        batch = { count: 0, plain: [], rare: undefined };
        batches.set(sink, batch);
      }
      const number = this.#base + index;
      const rare = this.#rare.size === 0 ? undefined : this.#rare.get(number);
      if (rare !== undefined) {
        this.#rare.delete(number);
        batch.rare ??= new Map();
        batch.rare.set(batch.count, rare);
      }
      for (let i = 4 * index; i < 4 * index + 4; i++) batch.plain.push(this.#outcomes[i] as number);
      batch.count++;
    }
    this.#compact();
    for (const [sink, batch] of batches) sink.send(encode(batch), batch.count);
  }

  #compact(): void {
    if (this.#head < 4096 && this.#head < this.#positions.length) return;
    this.#positions = this.#positions.slice(this.#head);
    this.#sinks = this.#sinks.slice(this.#head);
    this.#outcomes = this.#outcomes.slice(4 * this.#head);
    this.#base += this.#head;
    this.#head = 0;
  }
}

function encode(batch: Batch): Buffer {
  if (batch.rare !== undefined) return encodeRare(batch, batch.rare);
  const bytes = Buffer.allocUnsafe(batch.count * (OUTCOME_BYTES + 2));
  const view = viewOf(bytes);
  for (let i = 0, at = 0; i < batch.count; i++, at += OUTCOME_BYTES + 2) {
    view.setUint8(at, 0x0a);
    view.setUint8(at + 1, OUTCOME_BYTES);
    view.setUint8(at + 2, 0x0d);
    view.setUint32(at + 3, batch.plain[4 * i] as number, true);
    view.setUint8(at + 7, 0x15);
    view.setUint32(at + 8, batch.plain[4 * i + 1] as number, true);
    view.setUint8(at + 12, 0x19);
    writeUint64(view, at + 13, batch.plain[4 * i + 2] as number);
    view.setUint8(at + 21, 0x25);
    view.setUint32(at + 22, batch.plain[4 * i + 3] as number, true);
  }
  return bytes;
}

function encodeRare(batch: Batch, rare: ReadonlyMap<number, RareOutcome>): Buffer {
  const outcomes: ProduceResponse['outcomes'] = [];
  for (let i = 0; i < batch.count; i++) {
    const [frameId = 0, queueId = 0, baseOffset = 0, topicId = 0] = batch.plain.slice(4 * i);
    const plain = {
      frameId,
      queueId,
      baseOffset: BigInt(baseOffset),
      topicId,
      reason: '',
      message: '',
      parts: [],
    };
    outcomes.push({ $typeName: 'ternmq.broker.v1.FrameOutcome', ...(rare.get(i) ?? plain) });
  }
  return Buffer.from(toBinary(ProduceResponseSchema, create(ProduceResponseSchema, { outcomes })));
}
