// The client of the simulated gRPC. Streams are Node's, with the same events in the same order as those of grpc-js.

import { EventEmitter } from 'node:events';
import { Duplex, Readable } from 'node:stream';
import { connectivityState, Metadata, status } from '@grpc/grpc-js';
import type { Timer } from '@ternmq/runtime';
import {
  type Deserialize,
  errorFrom,
  metadataOf,
  type Serialize,
  Side,
  type Status,
  valuesOf,
} from './grpc-call.ts';
import { type End, type Frame, theNetwork } from './network.ts';
import { type Process, theWorld } from './world.ts';

type Callback = (error: Error | null, response?: unknown) => void;

interface Options {
  readonly deadline?: Date | number;
}

const BACK_OFF_MS_FIRST = 100;
const BACK_OFF_MS_MAX = 2000;

/** A call of a client, as it is told of what comes. */
interface ClientCall {
  message(bytes: Buffer): void;
  window(bytes: number): void;
  over(ended: Status): void;
}

/** What a stream sends and gets, once its call is open. */
class LateSide {
  side: Side | undefined;
  #wanted = false;

  read(): void {
    this.#wanted = true;
    this.side?.read();
  }

  open(side: Side): void {
    this.side = side;
    if (this.#wanted) side.read();
  }
}

/** A client of one address. */
export class Client {
  readonly #address: string;
  readonly #process: Process;
  readonly #calls = new Map<number, ClientCall>();
  readonly #waiting = new Map<number, () => void>();
  readonly #watchers: (() => void)[] = [];
  #state = connectivityState.IDLE;
  #end: End | undefined;
  #number = 0;
  #backOffMs = BACK_OFF_MS_FIRST;

  constructor(address: string, _credentials: unknown, _options?: unknown) {
    this.#address = address;
    const { process } = theWorld();
    if (process === undefined) throw new Error('a client belongs to a process');
    this.#process = process;
  }

  getChannel(): {
    getConnectivityState(connect: boolean): connectivityState;
    watchConnectivityState(from: connectivityState, deadline: unknown, changed: () => void): void;
  } {
    return {
      getConnectivityState: (connect) => {
        if (connect) this.#connect();
        return this.#state;
      },
      watchConnectivityState: (from, _deadline, changed) => {
        if (from === this.#state) this.#watchers.push(changed);
        else queueMicrotask(changed);
      },
    };
  }

  close(): void {
    this.#end?.lose('closed');
    this.#move(connectivityState.SHUTDOWN);
    this.#failAll('The channel has been closed');
  }

  makeUnaryRequest(
    path: string,
    serialize: Serialize,
    deserialize: Deserialize,
    request: unknown,
    ...rest: unknown[]
  ): EventEmitter & { cancel(): void } {
    const { metadata, options, callback } = partsOf(rest);
    const emitter = Object.assign(new EventEmitter(), { cancel: () => {} });
    let response: Buffer | undefined;
    const call = this.#open(path, metadata, options, {
      message: (bytes) => {
        response = bytes;
      },
      window() {},
      over: (ended) => {
        if (ended.code !== status.OK) callback?.(errorFrom(ended));
        else callback?.(null, response === undefined ? undefined : deserialize(response));
      },
    });
    emitter.cancel = () => call.cancel();
    call.whenOpen((end) => {
      end.send({ kind: 'message', call: call.number, bytes: Buffer.from(serialize(request)) });
      end.send({ kind: 'end', call: call.number });
    });
    return emitter;
  }

  makeServerStreamRequest(
    path: string,
    serialize: Serialize,
    deserialize: Deserialize,
    request: unknown,
    ...rest: unknown[]
  ): Readable {
    const { metadata, options } = partsOf(rest);
    const late = new LateSide();
    const stream = new Readable({ objectMode: true, read: () => late.read() });
    const call = this.#open(path, metadata, options, streamCall(stream, late));
    call.whenOpen((end) => {
      late.open(new Side(end, call.number, deserialize, stream));
      end.send({ kind: 'message', call: call.number, bytes: Buffer.from(serialize(request)) });
      end.send({ kind: 'end', call: call.number });
    });
    return Object.assign(stream, { cancel: () => call.cancel(), getPeer: () => this.#address });
  }

  makeBidiStreamRequest(
    path: string,
    serialize: Serialize,
    deserialize: Deserialize,
    ...rest: unknown[]
  ): Duplex {
    const { metadata, options } = partsOf(rest);
    const late = new LateSide();
    let unsent: (() => void) | undefined;
    let ending = false;
    const stream = new Duplex({
      objectMode: true,
      autoDestroy: false,
      read: () => late.read(),
      write: (message, _encoding, sent) => {
        const send = (): void => late.side?.send(serialize(message), sent);
        if (late.side === undefined) unsent = send;
        else send();
      },
      final: (done) => {
        ending = true;
        if (late.side !== undefined) this.#end?.send({ kind: 'end', call: call.number });
        done();
      },
    });
    const call = this.#open(path, metadata, options, streamCall(stream, late));
    call.whenOpen((end) => {
      late.open(new Side(end, call.number, deserialize, stream));
      unsent?.();
      if (ending) end.send({ kind: 'end', call: call.number });
    });
    return Object.assign(stream, { cancel: () => call.cancel(), getPeer: () => this.#address });
  }

  #open(path: string, metadata: Metadata | undefined, options: Options, handler: ClientCall) {
    const number = ++this.#number;
    let deadline: Timer | undefined;
    const over = (ended: Status): void => {
      if (!this.#calls.delete(number)) return;
      this.#waiting.delete(number);
      deadline?.cancel();
      handler.over(ended);
    };
    this.#calls.set(number, { ...handler, over });
    const deadlineMs = options.deadline === undefined ? Infinity : Number(options.deadline);
    const giveUp = (code: number, details: string): void => {
      if (!this.#calls.has(number)) return;
      this.#end?.send({ kind: 'cancel', call: number });
      over({ code, details, metadata: new Metadata() });
    };
    if (Number.isFinite(deadlineMs)) {
      deadline = theWorld().after(deadlineMs - Date.now(), this.#process, () =>
        giveUp(status.DEADLINE_EXCEEDED, 'Deadline exceeded'),
      );
    }
    return {
      number,
      cancel: () => queueMicrotask(() => giveUp(status.CANCELLED, 'Cancelled on client')),
      whenOpen: (opened: (end: End) => void) => {
        const begin = (): void => {
          const end = this.#end as End;
          const values = valuesOf(metadata);
          end.send({ kind: 'open', call: number, path, metadata: values, deadlineMs });
          opened(end);
        };
        if (this.#end !== undefined) begin();
        else if (this.#state === connectivityState.TRANSIENT_FAILURE) {
          queueMicrotask(() => over(unavailable('No connection established')));
        } else if (this.#state === connectivityState.SHUTDOWN) {
          queueMicrotask(() => over(unavailable('The channel has been closed')));
        } else {
          this.#waiting.set(number, begin);
          this.#connect();
        }
      },
    };
  }

  #connect(): void {
    if (this.#state !== connectivityState.IDLE) return;
    this.#move(connectivityState.CONNECTING);
    theNetwork().connect(this.#address, this.#process, (end) => {
      if (this.#state === connectivityState.SHUTDOWN) {
        end?.lose('closed');
        return;
      }
      if (end === undefined) {
        this.#move(connectivityState.TRANSIENT_FAILURE);
        this.#failAll('No connection established');
        theWorld().after(this.#backOffMs, this.#process, () => {
          if (this.#state === connectivityState.TRANSIENT_FAILURE) {
            this.#move(connectivityState.IDLE);
          }
        });
        this.#backOffMs = Math.min(BACK_OFF_MS_MAX, this.#backOffMs * 1.6);
        return;
      }
      this.#backOffMs = BACK_OFF_MS_FIRST;
      this.#end = end;
      end.listener = {
        frame: (frame) => this.#took(frame),
        lost: (why) => {
          this.#end = undefined;
          if (this.#state !== connectivityState.SHUTDOWN) this.#move(connectivityState.IDLE);
          this.#failAll(why);
        },
      };
      this.#move(connectivityState.READY);
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      for (const begin of waiting) begin();
    });
  }

  #took(frame: Frame): void {
    const call = this.#calls.get(frame.call);
    if (call === undefined) return;
    if (frame.kind === 'message') call.message(frame.bytes);
    else if (frame.kind === 'window') call.window(frame.bytes);
    else if (frame.kind === 'status') {
      const { code, details, metadata } = frame;
      call.over({ code, details, metadata: metadataOf(metadata) });
    }
  }

  #failAll(why: string): void {
    for (const call of [...this.#calls.values()]) call.over(unavailable(why));
  }

  #move(state: connectivityState): void {
    if (this.#state === connectivityState.SHUTDOWN) return;
    this.#state = state;
    for (const changed of this.#watchers.splice(0)) changed();
  }
}

function unavailable(details: string): Status {
  return { code: status.UNAVAILABLE, details, metadata: new Metadata() };
}

function partsOf(rest: unknown[]): {
  metadata: Metadata | undefined;
  options: Options;
  callback: Callback | undefined;
} {
  const metadata = rest.find((part) => part instanceof Metadata);
  const callback = rest.find((part) => typeof part === 'function') as Callback | undefined;
  const options = rest.find(
    (part) => typeof part === 'object' && part !== null && !(part instanceof Metadata),
  );
  return { metadata, options: (options ?? {}) as Options, callback };
}

/** What a client's stream does with what comes. An error is told at once, a good end after the last message. */
function streamCall(stream: Readable, late: LateSide): ClientCall {
  return {
    message: (bytes) => late.side?.got(bytes),
    window: (bytes) => late.side?.window(bytes),
    over: (ended) => {
      if (ended.code === status.OK && late.side !== undefined) {
        late.side?.ended();
        stream.once('end', () => stream.emit('status', ended));
        return;
      }
      stream.push(null);
      if (ended.code !== status.OK) stream.emit('error', errorFrom(ended));
      stream.emit('status', ended);
    },
  };
}
