// Typed calls on a grpc-js client by a method's generated descriptor, for the calls that one service makes
// to another.

import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import {
  type CallOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  Metadata,
} from '@grpc/grpc-js';
import { methodDefinition } from '@ternmq/proto';

/** Makes a unary call. Rejects with grpc-js's ServiceError. */
export function callUnary<Request extends DescMessage, Response extends DescMessage>(
  client: Client,
  method: DescMethodUnary<Request, Response>,
  request: MessageInitShape<Request>,
  options: CallOptions,
): Promise<MessageShape<Response>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      new Metadata(),
      options,
      (error, response) => {
        if (error === null) resolve(response);
        else reject(error);
      },
    );
  });
}

/** Opens a stream from the server. */
export function openServerStream<Request extends DescMessage, Response extends DescMessage>(
  client: Client,
  method: DescMethodServerStreaming<Request, Response>,
  request: MessageInitShape<Request>,
  options: CallOptions = {},
): ClientReadableStream<MessageShape<Response>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    create(method.input, request),
    options,
  );
}

/** Opens a stream in both directions. */
export function openBidiStream<Request extends DescMessage, Response extends DescMessage>(
  client: Client,
  method: DescMethodBiDiStreaming<Request, Response>,
  options: CallOptions = {},
): ClientDuplexStream<MessageShape<Request>, MessageShape<Response>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, options);
}
