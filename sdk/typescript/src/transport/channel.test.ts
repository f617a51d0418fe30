import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, Server, ServerCredentials, type ServiceError, status } from '@grpc/grpc-js';
import { serviceDefinition } from '@ternmq/proto';
import { ErrorInfoSchema } from '@ternmq/proto/gen/google/rpc/error_details_pb';
import { StatusSchema } from '@ternmq/proto/gen/google/rpc/status_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MqError } from '../errors.ts';
import { Channel } from './channel.ts';
import { broker } from './methods.ts';

let server: Server;
let port: number;
let channel: Channel;

function listen(): Promise<number> {
  server = new Server();
  server.addService(
    serviceDefinition(BrokerService, { produce: { request: true, response: true } }),
    {
      produce: (
        call: { on(name: string, listener: (bytes: Buffer) => void): void } & NodeJS.WritableStream,
      ) => {
        call.on('data', (bytes) => call.write(bytes));
        call.on('end', () => call.end());
      },
      listTopics: (_call: unknown, callback: (error: Partial<ServiceError>) => void) => {
        const info = { reason: 'NOT_READY', domain: 'ternmq.dev', metadata: { epoch: '7' } };
        const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, info))];
        const metadata = new Metadata();
        const bytes = toBinary(StatusSchema, create(StatusSchema, { code: 14, details }));
        metadata.set('grpc-status-details-bin', Buffer.from(bytes));
        callback({ code: status.UNAVAILABLE, details: 'recovering; try again', metadata });
      },
      listGroups: () => {
        // Never answers.
      },
    },
  );
  return new Promise((resolve, reject) => {
    const credentials = ServerCredentials.createInsecure();
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
}

/** Opens a stream and tells what happens on it, one line each. */
function open(log: string[], wanted: string): Promise<void> {
  return new Promise((resolve) => {
    const say = (line: string): void => {
      log.push(line);
      if (line.startsWith(wanted)) resolve();
    };
    const stream = channel.bytes(broker.produce, {
      connected: () => {
        say('connected');
        stream.write(Buffer.from('ping'));
      },
      message: (bytes) => say(`message ${bytes}`),
      ended: (error) => say(`ended ${error?.status}`),
    });
  });
}

beforeEach(async () => {
  port = await listen();
  channel = new Channel(`127.0.0.1:${port}`);
});
afterEach(() => {
  channel.close();
  server.forceShutdown();
});

describe('a stream', () => {
  test('tells when its connection stands, and what comes', async () => {
    const log: string[] = [];
    await open(log, 'message');
    expect(log).toEqual(['connected', 'message ping']);
    log.length = 0;
    await open(log, 'message');
    expect(log).toEqual(['connected', 'message ping']);
  });

  test('to a server that is away ends without ever being connected', async () => {
    server.forceShutdown();
    const log: string[] = [];
    await open(log, 'ended');
    expect(log).toEqual(['ended UNAVAILABLE']);
  });

  test('that loses its server ends once, as something that may be tried again', async () => {
    const log: string[] = [];
    const ended = open(log, 'ended');
    await channel.unary(broker.listTopics, {}, { deadlineMs: 5000 }).catch(() => {});
    server.forceShutdown();
    await ended;
    expect(log.filter((line) => line.startsWith('ended'))).toEqual(['ended UNAVAILABLE']);
  });
});

describe('a call', () => {
  test('fails with the reason, the facts and the sentence of the server', async () => {
    const failure = await channel
      .unary(broker.listTopics, {}, { deadlineMs: 5000 })
      .catch((error: MqError) => error);
    expect(failure).toMatchObject({
      name: 'MqError',
      code: 'NOT_READY',
      status: 'UNAVAILABLE',
      retryable: true,
      details: { epoch: '7' },
      message: 'recovering; try again',
    });
  });

  test('ends at its deadline', async () => {
    const call = channel.unary(broker.listGroups, {}, { deadlineMs: 50 });
    await expect(call).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', retryable: true });
  });

  test('ends when its signal aborts, also when it had before', async () => {
    const abort = new AbortController();
    const options = { deadlineMs: 5000, signal: abort.signal };
    const call = channel.unary(broker.listGroups, {}, options);
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(channel.unary(broker.listGroups, {}, options)).rejects.toMatchObject({
      code: 'ABORTED',
    });
  });

  test('of a method that the server does not have says so', async () => {
    const call = channel.unary(broker.describeBroker, {}, { deadlineMs: 5000 });
    await expect(call).rejects.toMatchObject({ code: 'UNIMPLEMENTED', retryable: false });
  });
});
