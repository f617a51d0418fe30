// Calls the own service of a broker: of this one within the process, of others over the network. What clients of RocketMQ 5
// ask for is translated into these calls, so that any broker can answer for any other.

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, credentials, type handleUnaryCall, type ServiceError } from '@grpc/grpc-js';
import type { RawSides } from '@ternmq/proto';
import {
  callInProcess,
  callUnary,
  errorOf,
  type Handlers,
  type InProcessCaller,
} from '@ternmq/runtime';
import { RAW_METHODS } from '../grpc/service.ts';

/** Calls one broker. Calls reject with a TernError. */
export interface BrokerLink {
  /** The broker group. */
  readonly brokerName: string;
  call<Request extends DescMessage, Response extends DescMessage>(
    method: DescMethodUnary<Request, Response>,
    request: MessageInitShape<Request>,
    caller: InProcessCaller,
  ): Promise<MessageShape<Response>>;
}

const RAW: Readonly<Record<string, RawSides>> = RAW_METHODS;

/** Calls this broker. What it answers while it does not lead is what its service answers then. */
export class OwnLink implements BrokerLink {
  readonly brokerName: string;
  readonly #handlers: () => Handlers;

  /** @param handlers those of BrokerService, as they are now */
  constructor(brokerName: string, handlers: () => Handlers) {
    this.brokerName = brokerName;
    this.#handlers = handlers;
  }

  async call<Request extends DescMessage, Response extends DescMessage>(
    method: DescMethodUnary<Request, Response>,
    init: MessageInitShape<Request>,
    caller: InProcessCaller,
  ): Promise<MessageShape<Response>> {
    const handler = this.#handlers()[method.localName] as handleUnaryCall<unknown, unknown>;
    const raw = RAW[method.localName];
    const message = create(method.input, init);
    const request = raw?.request === true ? asBuffer(toBinary(method.input, message)) : message;
    let response: unknown;
    try {
      response = await callInProcess(handler, request, caller);
    } catch (error) {
      throw errorOf(error as ServiceError);
    }
    if (raw?.response !== true) return response as MessageShape<Response>;
    return fromBinary(method.output, response as Buffer);
  }
}

/** Calls another broker; its connection is kept until `close`. */
export class RemoteLink implements BrokerLink {
  readonly brokerName: string;
  readonly address: string;
  readonly #client: Client;

  constructor(brokerName: string, address: string) {
    this.brokerName = brokerName;
    this.address = address;
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.enable_http_proxy': 0,
    });
  }

  async call<Request extends DescMessage, Response extends DescMessage>(
    method: DescMethodUnary<Request, Response>,
    request: MessageInitShape<Request>,
    { deadlineMs, signal }: InProcessCaller,
  ): Promise<MessageShape<Response>> {
    try {
      return await callUnary(this.#client, method, request, { deadline: deadlineMs }, signal);
    } catch (error) {
      throw errorOf(error as ServiceError);
    }
  }

  close(): void {
    this.#client.close();
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
