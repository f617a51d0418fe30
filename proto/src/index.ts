// The one place that turns a generated service into grpc-js definitions.

import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/** Which sides of a method carry bytes instead of message objects. */
export interface RawSides {
  /** Requests stay the bytes that came: the server reads a Buffer, the client writes one. */
  readonly request?: boolean;
  /** Responses stay bytes: the server writes a Buffer, the client reads one. */
  readonly response?: boolean;
}

interface Codec {
  serialize(value: never): Buffer;
  deserialize(bytes: Buffer): unknown;
}

const RAW: Codec = {
  serialize: (bytes: Buffer) => bytes,
  deserialize: (bytes) => bytes,
};

function messageCodec(schema: DescMessage): Codec {
  return {
    serialize: (message) => {
      const bytes = toBinary(schema, message);
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    deserialize: (bytes) => fromBinary(schema, bytes),
  };
}

/**
 * The grpc-js definition of one method.
 *
 * @param method a generated method descriptor, for example `BrokerService.method.produce`
 * @param raw sides that carry bytes; those of a data path, where objects cost too much
 */
export function methodDefinition(
  method: DescMethod,
  raw: RawSides = {},
  // biome-ignore lint/suspicious/noExplicitAny: grpc-js types a definition by its messages, which a descriptor does not carry
): MethodDefinition<any, any> {
  const request = raw.request ? RAW : messageCodec(method.input);
  const response = raw.response ? RAW : messageCodec(method.output);
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream:
      method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream:
      method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: request.serialize as never,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize as never,
    responseDeserialize: response.deserialize,
  };
}

/**
 * The grpc-js definition of a service; its keys are the methods' names in lower camel case.
 *
 * @param service a generated service descriptor
 * @param raw methods, by the same keys, that carry bytes on one or both sides
 */
export function serviceDefinition(
  service: DescService,
  raw: Readonly<Record<string, RawSides>> = {},
): ServiceDefinition {
  for (const name of Object.keys(raw)) {
    if (service.method[name] === undefined) {
      throw new Error(`${service.typeName} has no method ${name}`);
    }
  }
  return Object.fromEntries(
    service.methods.map((method) => [
      method.localName,
      methodDefinition(method, raw[method.localName]),
    ]),
  );
}
