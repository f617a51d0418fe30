// A connection for tests: streams and unary calls end here, in the hands of the test.

import type { MqError } from '../errors.ts';
import type { ByteStream, CallLimits, Channel, StreamListener } from '../transport/channel.ts';

/** One stream, as the server would see it. */
export class FakeStream implements ByteStream {
  readonly listener: StreamListener<Buffer>;
  /** What was written to it. */
  readonly written: Buffer[] = [];
  ended = false;
  cancelled = false;
  /** Takes what is written and says that it is enough for now. */
  clogged = false;

  constructor(listener: StreamListener<Buffer>) {
    this.listener = listener;
  }

  write(bytes: Buffer): boolean {
    this.written.push(bytes);
    return !this.clogged;
  }

  end(): void {
    this.ended = true;
  }

  cancel(): void {
    this.cancelled = true;
  }

  /** Breaks, or ends when there is no error. */
  close(error?: MqError): void {
    this.listener.ended(error);
  }
}

/** One server stream. */
export interface FakeWatch {
  readonly request: unknown;
  readonly listener: StreamListener<unknown>;
  cancelled: boolean;
}

/** A connection whose streams the test holds. */
export class FakeChannel {
  readonly address: string;
  /** Streams in the order in which they were opened. */
  readonly streams: FakeStream[] = [];
  /** Server streams in the order in which they were opened. */
  readonly watches: FakeWatch[] = [];
  /** Answers unary calls, by the method's name and the request, within the limits of the call. */
  answer: (method: string, request: unknown, limits: CallLimits) => Promise<unknown> = () =>
    new Promise(() => {});

  constructor(address: string) {
    this.address = address;
  }

  /** As the SDK takes it. */
  get channel(): Channel {
    return this as unknown as Channel;
  }

  /** The stream that was opened last. */
  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (stream === undefined) throw new Error('no stream was opened');
    return stream;
  }

  bytes(_method: unknown, listener: StreamListener<Buffer>): ByteStream {
    const stream = new FakeStream(listener);
    this.streams.push(stream);
    return stream;
  }

  watch(_method: unknown, request: unknown, listener: StreamListener<unknown>): { cancel(): void } {
    const watch: FakeWatch = { request, listener, cancelled: false };
    this.watches.push(watch);
    return {
      cancel: () => {
        watch.cancelled = true;
      },
    };
  }

  unary(method: { name: string }, request: unknown, limits: CallLimits): Promise<unknown> {
    const { deadlineMs, signal } = limits;
    return this.answer(method.name, request, { deadlineMs, signal });
  }

  unaryBytes(method: { name: string }, request: unknown, limits: CallLimits): Promise<unknown> {
    const { deadlineMs, signal } = limits;
    return this.answer(method.name, request, { deadlineMs, signal });
  }
}
