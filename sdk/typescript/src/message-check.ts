// What is wrong with a message can be told before it travels; the broker checks the rest.

import { DELAY_LEVELS, delayMsOf } from './delay.ts';
import { MqError } from './errors.ts';
import type { OutgoingMessage } from './message.ts';

const BODY_BYTES_MAX = 4 << 20;

/** Why a message cannot be sent; undefined when nothing is known against it. */
export function messageFault(message: OutgoingMessage): MqError | undefined {
  const { body, tag, keys, properties, orderingKey, delay, deliverAt, priority } = message;
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) {
    return invalid('body', 'text or a Uint8Array');
  }
  if (body.length === 0) {
    return new MqError('BODY_EMPTY', 'the message has an empty body; give it at least one byte');
  }
  // UTF-8 has one to three bytes for each UTF-16 unit.
  if (body.length > BODY_BYTES_MAX / 3) {
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
    if (length > BODY_BYTES_MAX) {
      return new MqError(
        'BODY_TOO_LARGE',
        `the body has ${length} bytes, and may have 4 MiB (${BODY_BYTES_MAX})`,
      );
    }
  }
  if (tag !== undefined && typeof tag !== 'string') return invalid('tag', 'text');
  if (orderingKey !== undefined && typeof orderingKey !== 'string') {
    return invalid('orderingKey', 'text');
  }
  const { traceContext } = message;
  if (traceContext !== undefined && typeof traceContext !== 'string') {
    return invalid('traceContext', 'text');
  }
  if (keys !== undefined && !(Array.isArray(keys) && keys.every(isText))) {
    return invalid('keys', 'a list of texts');
  }
  if (properties !== undefined && !Object.values(properties).every(isText)) {
    return invalid('properties', 'an object whose values are texts');
  }
  if (delayMsOf(delay) === undefined) {
    return invalid('delay', `milliseconds, or one of ${DELAY_LEVELS.join(', ')}`);
  }
  if (deliverAt !== undefined && !(deliverAt.getTime() > 0 && !delay)) {
    return invalid('deliverAt', 'a time, and without a delay beside it');
  }
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0 && priority <= 9)) {
    return invalid('priority', 'a whole number from 0 to 9');
  }
  return undefined;
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function invalid(field: string, wanted: string): MqError {
  return new MqError('INVALID_OPTION', `the message's ${field} must be ${wanted}`);
}
