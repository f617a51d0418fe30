// A topic with the shape of its messages, so that applications send and receive values instead of bytes.

/** How values become bodies and back. */
export interface BodyCodec<Value> {
  encode(value: Value): Uint8Array | string;
  decode(body: Buffer): Value;
}

/** A topic and what its messages hold. */
export interface TopicHandle<Value> {
  readonly name: string;
  readonly body: BodyCodec<Value>;
  /** The business key of a value, if it has one. */
  readonly key?: (value: Value) => string;
}

/** Values as JSON. */
export function json<Value>(): BodyCodec<Value> {
  return {
    encode: (value) => JSON.stringify(value),
    decode: (body) => JSON.parse(body.toString('utf8')) as Value,
  };
}

/** Values that are text, as UTF-8. */
export function text(): BodyCodec<string> {
  return { encode: (value) => value, decode: (body) => body.toString('utf8') };
}

/** Values that are bytes. */
export function bytes(): BodyCodec<Uint8Array> {
  return { encode: (value) => value, decode: (body) => body };
}

/** Defines a topic once, to be used wherever it is sent to or read from. */
export function defineTopic<Value>(
  name: string,
  options: { readonly body: BodyCodec<Value>; readonly key?: (value: Value) => string },
): TopicHandle<Value> {
  return { name, ...options };
}
