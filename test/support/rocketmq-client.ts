// A raw client of `apache.rocketmq.v2`, made from the schemas: what it sends and gets is what is on the wire.

import type { DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, type DescMessage } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import { methodDefinition } from '@ternmq/proto';
import {
  Code,
  type Message,
  MessageSchema,
  ResourceSchema,
  type Settings,
  type SettingsSchema,
  type Status,
  SystemPropertiesSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  MessagingService,
  type ReceiveMessageRequestSchema,
  type ReceiveMessageResponse,
  type SendMessageResponse,
  type TelemetryCommand,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';

const DEADLINE_MS = 5000;

/** What a receive has brought. */
export interface RawReceived {
  /** Kinds of the frames, in their order. */
  readonly frames: readonly (string | undefined)[];
  readonly status: Status;
  readonly messages: readonly Message[];
}

/** A client with an id of its own. */
export class RocketmqClient implements Disposable {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** @param clientId empty for a client that does not say who it is */
  constructor(port: number, clientId = 'raw') {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    if (clientId !== '') this.#metadata.set('x-mq-client-id', clientId);
  }

  /** Makes a unary call. */
  call<Request extends DescMessage, Response extends DescMessage>(
    method: DescMethodUnary<Request, Response>,
    request: MessageInitShape<Request>,
  ): Promise<MessageShape<Response>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        create(method.input, request),
        this.#metadata,
        { deadline: Date.now() + DEADLINE_MS },
        (error, response) => {
          if (error === null) resolve(response as MessageShape<Response>);
          else reject(error);
        },
      );
    });
  }

  /** Receives; the call has a deadline of its own when one is given. */
  receive(
    request: MessageInitShape<typeof ReceiveMessageRequestSchema>,
    deadlineMs = DEADLINE_MS,
  ): Promise<RawReceived> {
    const method = MessagingService.method.receiveMessage;
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      this.#metadata,
      { deadline: Date.now() + deadlineMs },
    );
    const contents: ReceiveMessageResponse['content'][] = [];
    return new Promise((resolve, reject) => {
      call.on('data', ({ content }: ReceiveMessageResponse) => contents.push(content));
      call.on('error', reject);
      call.on('end', () => {
        let status: Status | undefined;
        const messages: Message[] = [];
        for (const content of contents) {
          if (content.case === 'status') status = content.value;
          if (content.case === 'message') messages.push(content.value);
        }
        if (status === undefined) reject(new Error('the stream ended without a status'));
        else resolve({ frames: contents.map((one) => one.case), status, messages });
      });
    });
  }

  /** Begins to receive and goes away before anything comes. */
  async abort(request: MessageInitShape<typeof ReceiveMessageRequestSchema>): Promise<void> {
    const method = MessagingService.method.receiveMessage;
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      this.#metadata,
    );
    call.on('error', () => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    call.cancel();
  }

  /** Sends one message. */
  send(
    topic: string,
    systemProperties: MessageInitShape<typeof SystemPropertiesSchema> = {},
    body = 'body',
  ): Promise<SendMessageResponse> {
    const message = create(MessageSchema, {
      topic: create(ResourceSchema, { name: topic }),
      body: Buffer.from(body),
      systemProperties: create(SystemPropertiesSchema, { messageId: 'id', ...systemProperties }),
    });
    return this.call(MessagingService.method.sendMessage, { messages: [message] });
  }

  /** Opens Telemetry. */
  telemetry(): RawTelemetry {
    const method = MessagingService.method.telemetry;
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new RawTelemetry(
      this.#client.makeBidiStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        this.#metadata,
      ),
    );
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** A Telemetry stream. */
export class RawTelemetry {
  readonly #call: ClientDuplexStream<TelemetryCommand, TelemetryCommand>;
  /** Everything that has come. */
  readonly commands: TelemetryCommand[] = [];
  /** Resolves with the stream's status when it is over. */
  readonly ended: Promise<number>;
  /** Resolves when the headers have come. */
  readonly headers: Promise<unknown>;

  constructor(call: ClientDuplexStream<TelemetryCommand, TelemetryCommand>) {
    this.#call = call;
    call.on('data', (command: TelemetryCommand) => this.commands.push(command));
    call.on('error', () => {});
    this.headers = new Promise((resolve) => call.on('metadata', resolve));
    this.ended = new Promise((resolve) => call.on('status', ({ code }) => resolve(code)));
  }

  /** Says what the client is. */
  settings(settings: MessageInitShape<typeof SettingsSchema>): void {
    this.#call.write(
      create(MessagingService.method.telemetry.input, {
        command: { case: 'settings', value: settings },
      }),
    );
  }

  /** The answers to settings so far. */
  get answers(): Settings[] {
    return this.commands.flatMap(({ command }) =>
      command.case === 'settings' ? [command.value] : [],
    );
  }

  /** Ends the client's side. */
  end(): void {
    this.#call.end();
  }
}

/** The name of a status's code. */
export function codeName(status: Status | undefined): string {
  return Object.entries(Code).find(([, value]) => value === status?.code)?.[0] ?? 'none';
}
