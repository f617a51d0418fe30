// Produce: frames of messages come in on a stream, one outcome goes out for each when it is stored.
//
// Back-pressure: while too much is written and not yet durable, streams are not read, HTTP/2's windows fill, and
// the producers wait. A producer that does not read its outcomes is not read either.

import type { ServerDuplexStream } from '@grpc/grpc-js';
import { type Clock, failStream } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { ACKNOWLEDGED, type Acknowledged, type Acknowledgements } from './acknowledgements.ts';
import type { FrameAppender } from './append-frame.ts';
import { bornHostOf } from './born-host.ts';
import { frameRefusal, type Refusal } from './frame-refusal.ts';
import { type OutcomeSink, PendingFrames } from './pending-frames.ts';

type Call = ServerDuplexStream<Buffer, Buffer>;

/** One producer's stream. */
class ProduceStream implements OutcomeSink {
  readonly call: Call;
  readonly bornHost: Buffer;
  /** Frames that were read and not answered. */
  unanswered = 0;
  /** The producer has said its last word. */
  ended = false;
  closed = false;
  /** Outcomes wait in the stream until the producer reads. */
  clogged = false;

  constructor(call: Call) {
    this.call = call;
    this.bornHost = bornHostOf(call.getPeer());
  }

  send(bytes: Buffer, frames: number): void {
    this.unanswered -= frames;
    if (this.closed) return;
    if (!this.call.write(bytes)) {
      this.clogged = true;
      this.call.pause();
    }
    this.endWhenAnswered();
  }

  endWhenAnswered(): void {
    if (this.ended && this.unanswered === 0 && !this.closed) this.call.end();
  }
}

/** All producers' streams of a broker. */
export class ProduceStreams {
  readonly #log: CommitLog;
  readonly #appender: FrameAppender;
  readonly #clock: Clock;
  readonly #acknowledgements: Acknowledgements;
  readonly #pending = new Map(ACKNOWLEDGED.map((asked) => [asked, new PendingFrames()]));
  readonly #streams = new Set<ProduceStream>();
  #releasing = false;
  /** Who waits until every frame is answered. */
  #drained: (() => void) | undefined;

  constructor(modules: {
    log: CommitLog;
    acknowledgements: Acknowledgements;
    appender: FrameAppender;
    clock: Clock;
  }) {
    this.#log = modules.log;
    this.#acknowledgements = modules.acknowledgements;
    this.#appender = modules.appender;
    this.#clock = modules.clock;
  }

  /** Streams that are open now. */
  get open(): number {
    return this.#streams.size;
  }

  /** Frames that wait until they are durable enough. */
  get unanswered(): number {
    let size = 0;
    for (const pending of this.#pending.values()) size += pending.size;
    return size;
  }

  #pendingOf(asked: Acknowledged): PendingFrames {
    return this.#pending.get(asked) as PendingFrames;
  }

  /** The RPC. */
  readonly handle = (call: Call): void => {
    const stream = new ProduceStream(call);
    this.#streams.add(stream);
    const close = (): void => {
      stream.closed = true;
      this.#streams.delete(stream);
    };
    call.on('data', (bytes: Buffer) => this.#take(stream, bytes));
    call.on('drain', () => {
      stream.clogged = false;
      if (!this.#log.congested) call.resume();
    });
    call.on('end', () => {
      stream.ended = true;
      stream.endWhenAnswered();
    });
    call.on('cancelled', close);
    call.on('error', close);
    call.on('close', close);
  };

  #take(stream: ProduceStream, bytes: Buffer): void {
    stream.unanswered++;
    let refusal: Refusal | undefined;
    try {
      refusal = this.#appender.append(bytes, stream.bornHost);
    } catch (error) {
      refusal = frameRefusal(error);
    }
    const { topic, queue, baseOffset, parts, scanner, asked } = this.#appender;
    const { frameId } = scanner;
    const pending = this.#pendingOf(asked);
    const position = this.#log.next;
    if (refusal !== undefined) {
      const { reason, message } = refusal;
      const outcome = {
        frameId,
        queueId: 0,
        baseOffset: 0n,
        topicId: 0,
        reason,
        message,
        parts: [],
      };
      pending.addRare(position, stream, outcome);
    } else if (parts !== undefined) {
      pending.addRare(position, stream, {
        frameId,
        queueId: queue?.queueId ?? 0,
        baseOffset: BigInt(baseOffset),
        topicId: topic?.id ?? 0,
        reason: '',
        message: '',
        parts: parts.map(({ firstIndex, queueId, offset, duplicate }) => ({
          $typeName: 'ternmq.broker.v1.FramePart',
          firstIndex,
          offset: BigInt(offset),
          ...(queueId === queue?.queueId ? {} : { queueId }),
          duplicate,
        })),
      });
    } else {
      pending.add(position, stream, frameId, queue?.queueId ?? 0, baseOffset, topic?.id ?? 0);
    }
    // Nothing new in the log, so the log will not tell: a refusal, or a frame that was stored before.
    if (position <= this.#acknowledgements.reached(asked)) this.#releaseSoon();
    if (this.#log.congested) stream.call.pause();
  }

  #releaseSoon(): void {
    if (this.#releasing) return;
    this.#releasing = true;
    this.#clock.defer(() => {
      this.#releasing = false;
      this.advanced();
    });
  }

  /** More is written, and not yet more than that. */
  wrote(): void {
    const pending = this.#pendingOf('async');
    if (pending.size > 0) pending.release(this.#acknowledgements.reached('async'));
  }

  /** The log has come further. */
  advanced(): void {
    for (const [asked, pending] of this.#pending) {
      if (pending.size > 0) pending.release(this.#acknowledgements.reached(asked));
    }
    if (this.#drained !== undefined) {
      if (this.unanswered === 0) this.#drained();
      return;
    }
    if (this.#log.congested) return;
    for (const { call, clogged } of this.#streams) {
      if (!clogged && call.isPaused()) call.resume();
    }
  }

  /**
   * Reads no more frames; resolves when those that were read are answered, or after the grace. Streams with frames that are
   * not answered then fail, for their producers to send them again elsewhere.
   */
  async stop(graceMs: number, reason: Error): Promise<void> {
    for (const { call } of this.#streams) call.removeAllListeners('data').pause();
    if (this.unanswered > 0 && graceMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimer(graceMs, resolve);
        this.#drained = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    for (const { call, unanswered } of this.#streams) {
      if (unanswered > 0) failStream(call, reason);
      else call.end();
    }
  }
}
