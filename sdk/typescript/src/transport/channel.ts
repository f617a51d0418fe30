// A connection to one server: unary calls with deadline and signal, and streams of bytes or messages.

import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import {
  Client,
  type ClientReadableStream,
  connectivityState,
  credentials,
  Metadata,
} from '@grpc/grpc-js';
import { methodDefinition } from '@ternmq/proto';
import { deadlineIn } from '../clock.ts';
import { abortedError, type MqError } from '../errors.ts';
import { errorOf } from './status-error.ts';

const WINDOW_BYTES = 4 << 20;
const RECEIVE_BYTES_MAX = 64 << 20;

/** A method whose messages have these types. */
export type Method<Input extends DescMessage, Output extends DescMessage> = DescMethod & {
  readonly input: Input;
  readonly output: Output;
};

/** How long a call may take. */
export interface CallLimits {
  /** In milliseconds. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Told what comes on a stream. */
export interface StreamListener<Message> {
  /** The connection stands: what is written from now on leaves. What was written before may have left or not. */
  connected?(): void;
  message(message: Message): void;
  /** The stream can take more. */
  drained?(): void;
  /** The stream has ended: by the server when there is no error. */
  ended(error: MqError | undefined): void;
}

/** A stream that both sides write to; this side writes bytes. */
export interface ByteStream {
  /** Sends a message; false: wait for `drained` before the next. */
  write(bytes: Buffer): boolean;
  /** Has nothing more to say. */
  end(): void;
  /** Breaks the stream off. */
  cancel(): void;
}

/** A connection to one server, made when it is first used, and again whenever it is lost. */
export class Channel {
  /** Where the server is, `host:port`. */
  readonly address: string;
  readonly #client: Client;

  constructor(address: string) {
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc-node.flow_control_window': WINDOW_BYTES,
      'grpc.max_receive_message_length': RECEIVE_BYTES_MAX,
      'grpc.max_send_message_length': RECEIVE_BYTES_MAX,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2000,
      'grpc.enable_channelz': 0,
    });
  }

  /** Calls a unary method. Throws MqError. */
  unary<Input extends DescMessage, Output extends DescMessage>(
    method: Method<Input, Output>,
    request: MessageInitShape<Input>,
    options: CallLimits,
  ): Promise<MessageShape<Output>> {
    const { requestSerialize, responseDeserialize } = methodDefinition(method);
    const message = create(method.input, request);
    return this.#unary(method, requestSerialize, responseDeserialize, message, options);
  }

  /** As unary, and answers with the response's bytes. */
  unaryBytes<Input extends DescMessage>(
    method: Method<Input, DescMessage>,
    request: MessageInitShape<Input>,
    options: CallLimits,
  ): Promise<Buffer> {
    const { requestSerialize } = methodDefinition(method);
    const message = create(method.input, request);
    return this.#unary(method, requestSerialize, (bytes) => bytes, message, options);
  }

  #unary<Response>(
    method: DescMethod,
    serialize: (message: never) => Buffer,
    deserialize: (bytes: Buffer) => Response,
    message: unknown,
    { deadlineMs, signal }: CallLimits,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedError(signal));
      const call = this.#client.makeUnaryRequest(
        pathOf(method),
        serialize as (message: unknown) => Buffer,
        deserialize,
        message,
        new Metadata(),
        { deadline: deadlineIn(deadlineMs) },
        (error, response) => {
          signal?.removeEventListener('abort', abort);
          if (error === null && response !== undefined) resolve(response);
          else if (signal?.aborted) reject(abortedError(signal));
          else reject(errorOf(error ?? new Error('the server sent no answer')));
        },
      );
      const abort = (): void => call.cancel();
      signal?.addEventListener('abort', abort);
    });
  }

  /** Opens a stream on which both sides send bytes. */
  bytes(method: DescMethod, listener: StreamListener<Buffer>): ByteStream {
    const raw = (bytes: Buffer): Buffer => bytes;
    const call = this.#client.makeBidiStreamRequest(pathOf(method), raw, raw, new Metadata());
    const ended = listen(call, listener);
    call.on('drain', () => listener.drained?.());
    if (listener.connected !== undefined) {
      this.#whenConnected(ended, () => listener.connected?.());
    }
    return {
      write: (bytes) => call.write(bytes),
      end: () => call.end(),
      cancel: () => call.cancel(),
    };
  }

  /** Calls back once the connection stands, unless the stream has ended before. */
  #whenConnected(ended: () => boolean, connected: () => void): void {
    const channel = this.#client.getChannel();
    const look = (): void => {
      if (ended()) return;
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) connected();
      else if (state !== connectivityState.SHUTDOWN) {
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
      }
    };
    queueMicrotask(look);
  }

  /** Opens a stream on which the server sends messages. */
  watch<Input extends DescMessage, Output extends DescMessage>(
    method: Method<Input, Output>,
    request: MessageInitShape<Input>,
    listener: StreamListener<MessageShape<Output>>,
  ): { cancel(): void } {
    const { requestSerialize, responseDeserialize } = methodDefinition(method);
    const call = this.#client.makeServerStreamRequest(
      pathOf(method),
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      new Metadata(),
    );
    listen(call, listener);
    return { cancel: () => call.cancel() };
  }

  /** Closes the connection; calls and streams under way fail. */
  close(): void {
    this.#client.close();
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Returns whether the stream has ended. */
function listen<Message>(
  call: Pick<ClientReadableStream<Message>, 'on'>,
  listener: StreamListener<Message>,
): () => boolean {
  let ended = false;
  const end = (error: MqError | undefined): void => {
    if (ended) return;
    ended = true;
    listener.ended(error);
  };
  call.on('data', (message: Message) => {
    if (!ended) listener.message(message);
  });
  call.on('error', (error: Error) => end(errorOf(error)));
  call.on('end', () => end(undefined));
  return () => ended;
}
