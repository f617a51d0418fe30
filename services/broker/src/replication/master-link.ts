// A slave's stream to its master: one attempt. Messages come one at a time; `pause` holds them back. And the one call that it
// makes besides.

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, type StatusObject } from '@grpc/grpc-js';
import {
  type MergeProgressRequestSchema,
  type ReplicateRequest,
  ReplicateRequestSchema,
  type ReplicateResponse,
  type ReplicateResponse_Follow,
  ReplicationService,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { type Clock, callOnce, openBidiStream, type Timer } from '@ternmq/runtime';
import type { Run } from '../log/run-reader.ts';
import type { LogShape } from './common-position.ts';

/** A master that says nothing for so long is given up; it gives a sign of life every second. */
const SILENCE_MS = 5000;
const PROGRESS_MS = 1000;
/** HTTP/2 window: the log comes in runs of half a megabyte. */
const WINDOW_BYTES = 8 << 20;

/** Time for the answer to a single call. */
const CALL_MS = 5000;

/** Tells a master what was settled here while it was gone; resolves when it has that durably. Rejects with its refusal. */
export async function mergeProgress(
  address: string,
  request: MessageInitShape<typeof MergeProgressRequestSchema>,
  clock: Clock,
): Promise<void> {
  const deadline = clock.nowMs() + CALL_MS;
  await callOnce(address, ReplicationService.method.mergeProgress, request, { deadline });
}

/** Who a slave is. */
export interface SlaveIdentity {
  readonly brokerName: string;
  readonly id: number;
  readonly address: string;
}

/** What a slave has. */
export interface FollowerShape extends LogShape {
  /** Up to where it is durable. */
  readonly durable: number;
  /** It takes the log whole, and has nothing until it has everything. */
  readonly copying: boolean;
}

/** Told of what comes. What it throws ends the stream. */
export interface LinkHandler {
  /** The answer to hello. */
  follow(answer: ReplicateResponse_Follow): void;
  /** Records, perhaps none, and up to where the log is confirmed. */
  records(run: Run, confirmed: number): void;
  /** The stream has ended; nothing comes any more. */
  ended(why: string): void;
}

/** A stream to a master. */
export class MasterLink {
  readonly #client: Client;
  readonly #call: ClientDuplexStream<ReplicateRequest, ReplicateResponse>;
  readonly #clock: Clock;
  readonly #handler: LinkHandler;
  readonly #beat: Timer;
  #silence: Timer;
  #durable: number;
  #ended = false;

  constructor(
    address: string,
    slave: SlaveIdentity,
    { epochs, start, end, durable, copying }: FollowerShape,
    handler: LinkHandler,
    clock: Clock,
  ) {
    this.#clock = clock;
    this.#handler = handler;
    this.#durable = durable;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.max_receive_message_length': -1,
      'grpc-node.flow_control_window': WINDOW_BYTES,
    });
    this.#call = openBidiStream(this.#client, ReplicationService.method.replicate);
    this.#call.on('data', (message: ReplicateResponse) => this.#take(message));
    // The status says the same, and also comes when there is no error.
    this.#call.on('error', () => {});
    this.#call.on('status', ({ details, code }: StatusObject) =>
      this.#end(details === '' ? `status ${code}` : details),
    );
    this.#silence = this.#expect();
    this.#beat = clock.every(PROGRESS_MS, () => this.#tell());
    this.#write({
      case: 'hello',
      value: {
        $typeName: 'ternmq.broker.v1.ReplicateRequest.Hello',
        ...slave,
        startPosition: BigInt(start),
        endPosition: BigInt(end),
        copying,
        epochs: epochs.map(({ epoch, start: at, nonce }) => ({
          $typeName: 'ternmq.broker.v1.EpochStart',
          epoch,
          startPosition: BigInt(at),
          nonce: BigInt(nonce),
        })),
      },
    });
  }

  #take({ event }: ReplicateResponse): void {
    if (this.#ended) return;
    this.#silence.cancel();
    this.#silence = this.#expect();
    try {
      if (event.case === 'follow') this.#handler.follow(event.value);
      else if (event.case === 'records') {
        const { position, segmentStart, segmentEnd, confirmedPosition, records } = event.value;
        const segment = { start: Number(segmentStart), end: Number(segmentEnd) };
        const bytes = Buffer.from(records.buffer, records.byteOffset, records.length);
        this.#handler.records(
          { position: Number(position), segment, bytes },
          Number(confirmedPosition),
        );
      }
    } catch (error) {
      this.#end((error as Error).message);
    }
  }

  /** The log is durable up to a position. */
  durable(position: number): void {
    if (position <= this.#durable) return;
    this.#durable = position;
    this.#tell();
  }

  #tell(): void {
    if (this.#ended) return;
    this.#write({
      case: 'progress',
      value: {
        $typeName: 'ternmq.broker.v1.ReplicateRequest.Progress',
        durablePosition: BigInt(this.#durable),
      },
    });
  }

  #write(event: ReplicateRequest['event']): void {
    this.#call.write(create(ReplicateRequestSchema, { event }));
  }

  /** Holds messages back; the master stays where it is. */
  pause(): void {
    this.#silence.cancel();
    this.#call.pause();
  }

  /** Lets messages come again. */
  resume(): void {
    this.#silence = this.#expect();
    this.#call.resume();
  }

  #expect(): Timer {
    return this.#clock.setTimer(SILENCE_MS, () => this.#end('the master says nothing'));
  }

  #end(why: string): void {
    if (this.#ended) return;
    this.close();
    this.#handler.ended(why);
  }

  /** Ends the stream, and says nothing of it. */
  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#silence.cancel();
    this.#beat.cancel();
    this.#call.cancel();
    this.#client.close();
  }
}
