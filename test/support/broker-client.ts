// A gRPC client that knows only the schemas: it checks a broker without trusting the SDK.

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { methodDefinition } from '@ternmq/proto';
import {
  BrokerService,
  type CreateTopicRequestSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { StoredMessage } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';

const CALL_MS_MAX = 10_000;
const LARGEST_ANSWER_BYTES = 16 * 1024 * 1024;

/** Calls one server's unary methods. Each call has a deadline, 10 s unless it says another. */
export class BrokerClient implements Disposable {
  readonly #client: Client;

  /** @param address `host:port` */
  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': LARGEST_ANSWER_BYTES,
      // A broker that was killed is tried again at once when it is back.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }

  /** @throws {ServiceError} when the call fails */
  async call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    options: { deadlineMs?: number } = {},
  ): Promise<MessageShape<Output>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    const deadline = Date.now() + (options.deadlineMs ?? CALL_MS_MAX);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        create(method.input, request),
        new Metadata({ waitForReady: true }),
        { deadline },
        (error: ServiceError | null, response?: MessageShape<Output>) => {
          if (response === undefined) reject(error);
          else resolve(response);
        },
      );
    });
  }

  /** Creates a topic; one that is there stays as it is. */
  async ensureTopic(request: MessageInitShape<typeof CreateTopicRequestSchema>): Promise<void> {
    const alreadyExists = 6;
    await this.call(BrokerService.method.createTopic, request).catch((error: ServiceError) => {
      if (error.code !== alreadyExists) throw error;
    });
  }

  /** All messages of a topic that are readable now, by queue and offset; at most 1 MiB at a time in memory. */
  async *readAll(topic: string): AsyncGenerator<StoredMessage> {
    const { queues } = await this.call(BrokerService.method.describeTopic, { name: topic });
    for (const { queueId, beginOffset, endOffset } of queues) {
      for (let offset = beginOffset; offset < endOffset; ) {
        const answer = await this.call(BrokerService.method.pull, {
          topic,
          queueId,
          offset,
          messagesMax: 4096,
          bytesMax: 1024 * 1024,
        });
        if (answer.nextOffset <= offset) {
          throw new Error(
            `${topic} queue ${queueId} gives nothing at ${offset} below ${endOffset}`,
          );
        }
        yield* answer.messages;
        offset = answer.nextOffset;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
