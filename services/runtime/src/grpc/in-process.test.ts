import type { ServiceError } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { TernError } from '../errors.ts';
import { callInProcess } from './in-process.ts';
import { errorOf } from './status.ts';
import { unary } from './unary.ts';

const CALLER = { peer: '10.0.0.1:4711', deadlineMs: 1234 };

test('a handler called in its own process sees the request, the caller and the deadline', async () => {
  const handler = unary(
    (request: string, { peer, deadlineMs }) => `${request} ${peer} ${deadlineMs}`,
  );
  await expect(callInProcess(handler, 'hello', CALLER)).resolves.toBe('hello 10.0.0.1:4711 1234');
});

test('what a handler throws comes back with reason, sentence, facts and time to wait', async () => {
  const thrown = new TernError('RESOURCE_EXHAUSTED', 'DISK_FULL', 'The disk is full.', {
    retryAfterMs: 1500,
    metadata: { broker: 'a' },
  });
  const handler = unary(() => {
    throw thrown;
  });
  const error = await callInProcess(handler, 0, CALLER).catch((caught) => caught as ServiceError);
  const { code, reason, message, retryAfterMs, metadata } = errorOf(error as ServiceError);
  expect({ code, reason, message, retryAfterMs, metadata }).toEqual({
    code: 'RESOURCE_EXHAUSTED',
    reason: 'DISK_FULL',
    message: 'The disk is full.',
    retryAfterMs: 1500,
    metadata: { broker: 'a' },
  });
});

test('an error without details is known by its code alone', () => {
  const error = Object.assign(new Error('no connection'), { code: 14, details: 'no connection' });
  expect(errorOf(error as unknown as ServiceError)).toMatchObject({
    code: 'UNAVAILABLE',
    reason: 'UNAVAILABLE',
    message: 'no connection',
  });
});

test.each([true, false])(
  'a caller that goes away cancels the call (before it began: %s)',
  async (before) => {
    const going = new AbortController();
    if (before) going.abort();
    const handler = unary(async (_: number, { signal }) => {
      if (!signal.aborted)
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return signal.reason instanceof TernError ? signal.reason.reason : 'nothing';
    });
    const answer = callInProcess(handler, 0, { ...CALLER, signal: going.signal });
    going.abort();
    await expect(answer).resolves.toBe('CALL_CANCELLED');
  },
);
