// A broker for tests of producers, and a producer that talks to such brokers.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type ProduceRequest,
  ProduceRequestSchema,
  ProduceResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Clock } from '../../clock.ts';
import { MqError } from '../../errors.ts';
import { type ClientEvent, Events } from '../../events.ts';
import { Producer, type ProducerOptions } from '../../producer.ts';
import type { Routes } from '../../routes.ts';
import type { ByteStream, StreamListener } from '../channel.ts';
import type { Channels } from '../channels.ts';

/** What became of a frame: its messages' offsets, also when it does not say so, a refusal, or silence. */
export type Answer = { reason: string } | 'stored' | 'unanswered' | 'silence';

/** A broker as a producer sees it: keeps messages by queue, knows sequences, and can be away. */
export class FakeBroker {
  up = true;
  /** A connection is neither made nor refused. */
  blackHole = false;
  answer: (frame: ProduceRequest) => Answer = () => 'stored';
  readonly frames: ProduceRequest[] = [];
  readonly queues = new Map<number, string[]>();
  readonly #sequences = new Map<string, { next: number; offsets: number[] }>();
  #streams = new Set<StreamListener<Buffer>>();

  open(listener: StreamListener<Buffer>): ByteStream {
    const buffered: Buffer[] = [];
    let connected = false;
    if (!this.blackHole) {
      setImmediate(() => {
        if (!this.up) listener.ended(new MqError('UNAVAILABLE', 'connection refused'));
        else {
          connected = true;
          this.#streams.add(listener);
          listener.connected?.();
          for (const bytes of buffered) this.#take(bytes, listener);
        }
      });
    }
    return {
      write: (bytes) => {
        if (connected) this.#take(bytes, listener);
        else buffered.push(bytes);
        return true;
      },
      end: () => this.#streams.delete(listener),
      cancel: () => this.#streams.delete(listener),
    };
  }

  #take(bytes: Buffer, listener: StreamListener<Buffer>): void {
    const frame = fromBinary(ProduceRequestSchema, bytes);
    this.frames.push(frame);
    const answer = this.answer(frame);
    if (answer === 'silence') return;
    const outcome = typeof answer === 'string' || this.#knows(frame) ? this.#store(frame) : answer;
    const response = create(ProduceResponseSchema, {
      outcomes: [{ frameId: frame.frameId, queueId: frame.queueId ?? 0, ...outcome }],
    });
    const answered = Buffer.from(toBinary(ProduceResponseSchema, response));
    if (answer === 'unanswered') return;
    setImmediate(() => {
      if (this.#streams.has(listener)) listener.message(answered);
    });
  }

  /** What is stored already is never refused. */
  #knows({ producerId, queueId = 0, sequence }: ProduceRequest): boolean {
    const known = this.#sequences.get(`${producerId} ${queueId}`);
    return known !== undefined && sequence < known.next;
  }

  #store(frame: ProduceRequest): { reason: string } | { baseOffset: bigint } {
    const queueId = frame.queueId ?? 0;
    const queue = this.queues.get(queueId) ?? [];
    this.queues.set(queueId, queue);
    const key = `${frame.producerId} ${queueId}`;
    const known = this.#sequences.get(key) ?? { next: 0, offsets: [] };
    this.#sequences.set(key, known);
    const sequence = Number(frame.sequence);
    if (sequence > known.next) return { reason: 'SEQUENCE_GAP' };
    for (const [i, { body }] of frame.messages.entries()) {
      if (sequence + i < known.next) continue;
      known.offsets.push(queue.length);
      known.next++;
      queue.push(Buffer.from(body).toString());
    }
    return { baseOffset: BigInt(known.offsets[sequence] as number) };
  }

  breakOff(): void {
    const streams = [...this.#streams];
    this.#streams.clear();
    for (const stream of streams) stream.ended(new MqError('UNAVAILABLE', 'connection lost'));
  }

  /** Everything that is stored, in the order of queues. */
  get bodies(): string[] {
    return [...this.queues.values()].flat();
  }
}

/** A producer that reaches these brokers, by address; what it tells is added to `events`. */
export function producerOf(
  brokers: Readonly<Record<string, FakeBroker>>,
  modules: { routes: Routes; clock: Clock; events: ClientEvent[] },
  options: ProducerOptions = {},
): Producer {
  const channels = {
    get: (address: string) => ({
      address,
      bytes: (_method: unknown, listener: StreamListener<Buffer>) =>
        brokers[address]?.open(listener),
    }),
  };
  const events = new Events();
  events.listen((event) => modules.events.push(event));
  const { routes, clock } = modules;
  return new Producer(options, {
    routes,
    channels: channels as unknown as Channels,
    clock,
    events,
  });
}
