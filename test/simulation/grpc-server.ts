// The server of the simulated gRPC. Streams are Node's, with the same events in the same order as those of grpc-js.

import { EventEmitter } from 'node:events';
import { Duplex, Readable, Writable } from 'node:stream';
import { Metadata, status } from '@grpc/grpc-js';
import {
  type Deserialize,
  metadataOf,
  type Serialize,
  Side,
  type Status,
  statusFrom,
  valuesOf,
} from './grpc-call.ts';
import { type End, type Frame, type Listener, theNetwork } from './network.ts';
import { type Process, theWorld } from './world.ts';

interface MethodDefinition {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: Deserialize;
  readonly responseSerialize: Serialize;
}

interface Method {
  readonly definition: MethodDefinition;
  readonly handler: (...values: never[]) => void;
}

/** A call of a server, as it is told of what comes. */
interface ServerCall {
  message(bytes: Buffer): void;
  window(bytes: number): void;
  ended(): void;
  cancelled(): void;
}

/** A server. */
export class Server {
  /** As grpc-js has them; nothing here comes from HTTP/2. */
  readonly commonServerOptions = {};
  readonly createHttp2Server = (): never => {
    throw new Error('the simulation has no HTTP/2');
  };
  readonly #methods = new Map<string, Method>();
  readonly #process: Process;
  readonly #ends = new Map<End, Map<number, ServerCall>>();
  #address: string | undefined;
  #listener: Listener | undefined;
  #stopped: (() => void) | undefined;

  constructor(_options?: unknown) {
    const { process } = theWorld();
    if (process === undefined) throw new Error('a server belongs to a process');
    this.#process = process;
  }

  addService(
    definitions: Readonly<Record<string, MethodDefinition>>,
    handlers: Readonly<Record<string, (...values: never[]) => void>>,
  ): void {
    for (const [name, definition] of Object.entries(definitions)) {
      const handler = handlers[name];
      if (handler !== undefined) this.#methods.set(definition.path, { definition, handler });
    }
  }

  removeService(definitions: Readonly<Record<string, MethodDefinition>>): void {
    for (const { path } of Object.values(definitions)) this.#methods.delete(path);
  }

  bindAsync(
    address: string,
    _credentials: unknown,
    bound: (error: Error | null, port: number) => void,
  ): void {
    const listener = { process: this.#process, accept: (end: End) => this.#accept(end) };
    if (!theNetwork().listen(address, listener)) {
      bound(new Error(`EADDRINUSE ${address}`), 0);
      return;
    }
    this.#address = address;
    this.#listener = listener;
    bound(null, Number(address.slice(address.lastIndexOf(':') + 1)));
  }

  tryShutdown(done: () => void): void {
    this.#unlisten();
    this.#stopped = done;
    this.#finished();
  }

  forceShutdown(): void {
    this.#unlisten();
    for (const end of [...this.#ends.keys()]) end.lose('server shut down');
  }

  #unlisten(): void {
    if (this.#address !== undefined && this.#listener !== undefined) {
      theNetwork().unlisten(this.#address, this.#listener);
    }
  }

  #finished(): void {
    if (this.#stopped === undefined) return;
    for (const calls of this.#ends.values()) if (calls.size > 0) return;
    for (const end of [...this.#ends.keys()]) end.lose('server shut down');
    const stopped = this.#stopped;
    this.#stopped = undefined;
    queueMicrotask(stopped);
  }

  #accept(end: End): void {
    const calls = new Map<number, ServerCall>();
    this.#ends.set(end, calls);
    end.listener = {
      frame: (frame) => {
        if (frame.kind === 'open') this.#begin(end, calls, frame);
        else {
          const call = calls.get(frame.call);
          if (frame.kind === 'message') call?.message(frame.bytes);
          else if (frame.kind === 'window') call?.window(frame.bytes);
          else if (frame.kind === 'end') call?.ended();
          else if (frame.kind === 'cancel') call?.cancelled();
        }
      },
      lost: () => {
        this.#ends.delete(end);
        for (const call of [...calls.values()]) call.cancelled();
        this.#finished();
      },
    };
  }

  #begin(end: End, calls: Map<number, ServerCall>, frame: Frame & { kind: 'open' }): void {
    const { call, path } = frame;
    const method = this.#methods.get(path);
    const over = (): void => {
      calls.delete(call);
      this.#finished();
    };
    if (method === undefined) {
      const details = `The server does not implement the method ${path}`;
      const metadata = new Map<string, string>();
      end.send({ kind: 'status', call, code: status.UNIMPLEMENTED, details, metadata });
      return;
    }
    const { requestStream, responseStream } = method.definition;
    if (requestStream) calls.set(call, bidiCall(end, frame, method, over));
    else if (responseStream) calls.set(call, answerCall(end, frame, method, over, serverStream));
    else calls.set(call, answerCall(end, frame, method, over, unaryAnswer));
  }
}

function sendStatus(end: End, call: number, { code, details, metadata }: Status): void {
  end.send({ kind: 'status', call, code, details, metadata: valuesOf(metadata) });
}

const FINE = { code: status.OK, details: 'OK' };

/** What handlers may ask of a call. */
function contextOf(end: End, { metadata, deadlineMs, path }: Frame & { kind: 'open' }) {
  return {
    metadata: metadataOf(metadata),
    cancelled: false,
    getPeer: () => `${end.peer.process.host}:40000`,
    getDeadline: () => deadlineMs,
    getPath: () => path,
    sendMetadata() {},
  };
}

type Answering = (
  end: End,
  frame: Frame & { kind: 'open' },
  method: Method,
  request: unknown,
  over: () => void,
) => { cancelled(): void; window(bytes: number): void };

/** A call with one request. */
function answerCall(
  end: End,
  frame: Frame & { kind: 'open' },
  method: Method,
  over: () => void,
  answer: Answering,
): ServerCall {
  let answering: ReturnType<Answering> | undefined;
  return {
    message(bytes) {
      const request = method.definition.requestDeserialize(bytes);
      answering = answer(end, frame, method, request, over);
    },
    window: (bytes) => answering?.window(bytes),
    ended() {},
    cancelled() {
      over();
      answering?.cancelled();
    },
  };
}

const unaryAnswer: Answering = (end, frame, { definition, handler }, request, over) => {
  const call = Object.assign(new EventEmitter(), contextOf(end, frame), { request });
  let answered = false;
  const respond = (error: unknown, value?: unknown, trailer?: Metadata): void => {
    if (answered) return;
    answered = true;
    over();
    if (error) {
      sendStatus(end, frame.call, statusFrom(error, trailer));
      return;
    }
    const bytes = Buffer.from(definition.responseSerialize(value));
    end.send({ kind: 'message', call: frame.call, bytes });
    sendStatus(end, frame.call, { ...FINE, metadata: trailer ?? new Metadata() });
  };
  handler(call as never, respond as never);
  return {
    window() {},
    cancelled() {
      if (answered) return;
      answered = true;
      call.cancelled = true;
      call.emit('cancelled', 'cancelled');
    },
  };
};

/** Ends a server's stream as grpc-js does: with a status when all is written, or with the error that was told. */
function endings(end: End, call: number, over: () => void, stream: () => Writable) {
  let pending: Status = { ...FINE, metadata: new Metadata() };
  let closed = false;
  const close = (): void => {
    if (closed) return;
    closed = true;
    over();
    process.nextTick(() => {
      const one = stream() as Writable & { cancelled: boolean };
      one.cancelled = true;
      one.emit('cancelled', 'cancelled');
      one.destroy();
    });
  };
  return {
    failed(error: unknown): void {
      pending = statusFrom(error);
      stream().end();
    },
    final(done: (error: null) => void): void {
      done(null);
      if (!closed) sendStatus(end, call, pending);
      close();
    },
    close,
    get closed() {
      return closed;
    },
  };
}

const serverStream: Answering = (end, frame, { definition, handler }, request, over) => {
  const ending = endings(end, frame.call, over, () => stream);
  const side = new Side(end, frame.call, () => undefined, new Readable());
  const stream = new Writable({
    objectMode: true,
    write: (message, _encoding, sent) => {
      if (!ending.closed) side.send(definition.responseSerialize(message), sent);
    },
    final: ending.final,
  });
  stream.on('error', ending.failed);
  Object.assign(stream, contextOf(end, frame), { request });
  handler(stream as never);
  return { window: (bytes) => side.window(bytes), cancelled: ending.close };
};

function bidiCall(
  end: End,
  frame: Frame & { kind: 'open' },
  { definition, handler }: Method,
  over: () => void,
): ServerCall {
  const ending = endings(end, frame.call, over, () => stream);
  const stream: Duplex = new Duplex({
    objectMode: true,
    read: () => side.read(),
    write: (message, _encoding, sent) => {
      if (!ending.closed) side.send(definition.responseSerialize(message), sent);
    },
    final: ending.final,
  });
  const side: Side = new Side(end, frame.call, definition.requestDeserialize, stream);
  stream.on('error', ending.failed);
  Object.assign(stream, contextOf(end, frame));
  handler(stream as never);
  return {
    message: (bytes) => {
      if (!ending.closed) side.got(bytes);
    },
    window: (bytes) => side.window(bytes),
    ended: () => {
      if (!ending.closed) side.ended();
    },
    cancelled: ending.close,
  };
}
