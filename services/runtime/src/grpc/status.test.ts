import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { type ServiceError, status } from '@grpc/grpc-js';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from '@ternmq/proto/gen/google/rpc/error_details_pb';
import { StatusSchema } from '@ternmq/proto/gen/google/rpc/status_pb';
import { expect, test } from 'vitest';
import { TernError } from '../errors.ts';
import { GRPC_STATUS, statusOf } from './status.ts';

function detailsOf(error: ServiceError) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const { code, message, details } = fromBinary(StatusSchema, bytes as Buffer);
  return {
    code,
    message,
    info: details.map((any) => anyUnpack(any, ErrorInfoSchema)).find(Boolean),
    retry: details.map((any) => anyUnpack(any, RetryInfoSchema)).find(Boolean),
    bad: details.map((any) => anyUnpack(any, BadRequestSchema)).find(Boolean),
  };
}

test('every code has the gRPC status of its name', () => {
  for (const [code, value] of Object.entries(GRPC_STATUS)) expect(status[value]).toBe(code);
});

test('carries reason, facts, delay and fields beside the status', () => {
  const error = statusOf(
    new TernError('UNAVAILABLE', 'WARMING_UP', 'Try again soon.', {
      metadata: { topic: 'orders' },
      retryAfterMs: 1500,
      fields: [{ field: 'topic', description: 'must not be empty' }],
    }),
  );
  expect(error.code).toBe(status.UNAVAILABLE);
  const { code, message, info, retry, bad } = detailsOf(error);
  expect([code, message]).toEqual([status.UNAVAILABLE, 'Try again soon.']);
  expect(info).toMatchObject({
    reason: 'WARMING_UP',
    domain: 'ternmq.dev',
    metadata: { topic: 'orders' },
  });
  expect(retry?.retryDelay).toMatchObject({ seconds: 1n, nanos: 500_000_000 });
  expect(bad?.fieldViolations).toMatchObject([
    { field: 'topic', description: 'must not be empty' },
  ]);
});

test('shows nothing of a fault of the server', () => {
  const error = statusOf(new Error('password=secret'));
  expect(error.code).toBe(status.INTERNAL);
  expect(JSON.stringify([error.details, error.metadata.toJSON()])).not.toContain('secret');
  expect(detailsOf(error).info?.reason).toBe('INTERNAL');
});

test('cuts what is too long for a trailer, and mends half surrogate pairs', () => {
  const hostile = `\ud800${'x'.repeat(10_000)}`;
  const error = statusOf(
    new TernError('NOT_FOUND', 'TOPIC_NOT_FOUND', hostile, {
      metadata: { topic: hostile },
      fields: Array.from({ length: 100 }, () => ({ field: hostile, description: hostile })),
    }),
  );
  expect(error.details.length).toBe(1024);
  expect(() => encodeURI(error.details)).not.toThrow();
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  expect((bytes as Buffer).length).toBeLessThan(12_000);
});
