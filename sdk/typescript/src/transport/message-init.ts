// A message as unary calls take it; what travels in frames is written by wire/frame.ts.

import type { MessageInitShape } from '@bufbuild/protobuf';
import type { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { EncodedMessage } from '../body-encoding.ts';

/** The message's fields, but those of its delay. */
export function messageInit(
  message: EncodedMessage,
  bornTimeMs: number,
): MessageInitShape<typeof MessageSchema> {
  const { body, tag, keys, properties, orderingKey, priority, bodyEncoding } = message;
  const { traceContext = '' } = message;
  return {
    body: Buffer.from(body as Uint8Array),
    tag: tag ?? '',
    keys: [...(keys ?? [])],
    properties: { ...properties },
    orderingKey: orderingKey ?? '',
    traceContext,
    bornTimeMs: BigInt(Math.floor(bornTimeMs)),
    ...(priority === undefined ? {} : { priority }),
    ...(bodyEncoding === undefined ? {} : { bodyEncoding }),
  };
}
