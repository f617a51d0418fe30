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
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
} from '@grpc/grpc-js';
import { methodDefinition } from '@ternmq/proto';

/** Makes a unary call. Rejects with grpc-js's ServiceError; a signal that aborts cancels the call. */
export function callUnary<Request extends DescMessage, Response extends DescMessage>(
  client: Client,
  method: DescMethodUnary<Request, Response>,
  request: MessageInitShape<Request>,
  options: CallOptions,
  signal?: AbortSignal,
): Promise<MessageShape<Response>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return new Promise((resolve, reject) => {
    const cancel = (): void => call.cancel();
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      new Metadata(),
      options,
      (error, response) => {
        signal?.removeEventListener('abort', cancel);
        if (error === null) resolve(response as MessageShape<Response>);
        else reject(error);
      },
    );
    if (signal?.aborted) cancel();
    else signal?.addEventListener('abort', cancel, { once: true });
  });
}

/** Makes a unary call on a connection of its own. Rejects with grpc-js's ServiceError. */
export async function callOnce<Request extends DescMessage, Response extends DescMessage>(
  address: string,
  method: DescMethodUnary<Request, Response>,
  request: MessageInitShape<Request>,
  options: CallOptions,
): Promise<MessageShape<Response>> {
  const client = new Client(address, credentials.createInsecure(), {
    // A new client has to try at once, not when the back-off of an earlier one is over.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  });
  try {
    return await callUnary(client, method, request, options);
  } finally {
    client.close();
  }
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
