import { once } from 'node:events';
import { connect } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { Client, credentials, status } from '@grpc/grpc-js';
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '@ternmq/proto/gen/grpc/health/v1/health_pb';
import {
  NameServerService,
  type QueryRouteRequest,
  type QueryRouteResponse,
  QueryRouteResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../clock.ts';
import { TernError } from '../errors.ts';
import { callUnary, openServerStream } from './client.ts';
import { GrpcServer } from './server.ts';
import { type UnaryContext, unary } from './unary.ts';

const clock = new ManualClock();
const observed: [string, number][] = [];
let server: GrpcServer;
let client: Client;
let port: number;
/** What the one method that the tests call does. */
let handle: (request: QueryRouteRequest, context: UnaryContext) => Promise<QueryRouteResponse>;

const ANSWER = create(QueryRouteResponseSchema);

function queryRoute(topic: string, deadlineMs = 10_000) {
  const deadline = Date.now() + deadlineMs;
  return callUnary(client, NameServerService.method.queryRoute, { topic }, { deadline });
}

beforeEach(async () => {
  observed.length = 0;
  handle = async () => ANSWER;
  server = new GrpcServer(
    { receiveBytesMax: 1000, connectionsMax: 3 },
    { clock, observeUnary: (path, code) => observed.push([path, code]) },
  );
  server.add(NameServerService, {
    queryRoute: unary((request: QueryRouteRequest, context) => handle(request, context)),
  });
  port = await server.listen('127.0.0.1', 0);
  client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
});

afterEach(async () => {
  client.close();
  const stopped = server.stop(0);
  clock.advance(0);
  await stopped;
});

describe('a unary method', () => {
  test('with a deadline further off than a timer can hold is answered, and waits for ever', async () => {
    const YEAR_MS = 366 * 24 * 3_600_000;
    let deadlineMs = 0;
    handle = async (_, context) => {
      deadlineMs = context.deadlineMs;
      await new Promise((resolve) => setImmediate(resolve));
      return ANSWER;
    };
    await queryRoute('a', YEAR_MS);
    expect(deadlineMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('answers, and tells the observer', async () => {
    expect((await queryRoute('a')).$typeName).toBe('ternmq.nameserver.v1.QueryRouteResponse');
    expect(observed).toEqual([['/ternmq.nameserver.v1.NameServerService/QueryRoute', 0]]);
  });

  test('that throws ends with the status of the error', async () => {
    handle = async () => {
      throw new TernError('NOT_FOUND', 'TOPIC_NOT_FOUND', 'There is no topic a.');
    };
    const error = { code: status.NOT_FOUND, details: 'There is no topic a.' };
    await expect(queryRoute('a')).rejects.toMatchObject(error);
    expect(observed).toMatchObject([[expect.any(String), status.NOT_FOUND]]);
  });

  test('learns that its caller went away', async () => {
    const aborted = new Promise<unknown>((resolve) => {
      handle = async (_request, { signal }) => {
        await once(signal, 'abort');
        resolve(signal.reason);
        return ANSWER;
      };
    });
    await expect(queryRoute('a', 50)).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    expect(await aborted).toMatchObject({ code: 'CANCELLED', reason: 'CALL_CANCELLED' });
  });

  test('knows how long its caller waits', async () => {
    const before = Date.now();
    let deadlineMs = 0;
    handle = async (_request, context) => {
      deadlineMs = context.deadlineMs;
      return ANSWER;
    };
    await queryRoute('a', 5000);
    expect(deadlineMs).toBeGreaterThan(before + 4000);
    expect(deadlineMs).toBeLessThan(before + 10_000);
  });

  test('without a handler is UNIMPLEMENTED, and a handler without a method is refused', async () => {
    const { describeCluster } = NameServerService.method;
    await expect(callUnary(client, describeCluster, {}, {})).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
    });
    const add = () => new GrpcServer().add(NameServerService, { queryRoutes: () => {} });
    expect(add).toThrow('no method queryRoutes');
  });
});

describe('limits', () => {
  test('a message that is too large is refused', async () => {
    await expect(queryRoute('x'.repeat(2000))).rejects.toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
  });

  test('connections beyond the bound are closed at once', async () => {
    const sockets = [1, 2, 3].map(() => connect(port, '127.0.0.1'));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const refused = connect(port, '127.0.0.1').on('error', () => {});
    await once(refused, 'close');
    for (const socket of sockets) socket.destroy();
  });

  test('a port that is taken is refused with what to do', async () => {
    await expect(new GrpcServer().listen('127.0.0.1', port)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      reason: 'PORT_IN_USE',
    });
  });

  test('the receive window of a connection is what was asked for', async () => {
    await queryRoute('a');
    expect(server.connections).toBe(1);
    const windows = await new Promise<number[]>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      // An HTTP/2 client that says hello and reads the SETTINGS and WINDOW_UPDATE of the server.
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
      let bytes = Buffer.alloc(0);
      socket.on('data', (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        const found = receiveWindows(bytes);
        if (found.length < 2) return;
        socket.destroy();
        resolve(found);
      });
    });
    expect(windows).toEqual([1024 * 1024, 1024 * 1024]);
  });
});

/** The stream window that a server's SETTINGS give, and the connection's after its WINDOW_UPDATE. */
function receiveWindows(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const type = bytes[at + 3];
    const payload = bytes.subarray(at + 9, at + 9 + length);
    if (payload.length < length) break;
    if (type === 4) {
      for (let entry = 0; entry < length; entry += 6) {
        if (payload.readUInt16BE(entry) === 4) found.push(payload.readUInt32BE(entry + 2));
      }
    }
    if (type === 8) found.push(65_535 + payload.readUInt32BE(0));
    at += 9 + length;
  }
  return found;
}

describe('health', () => {
  const check = (service: string) => callUnary(client, Health.method.check, { service }, {});

  test('is NOT_SERVING until told, for the server and each service', async () => {
    expect((await check('')).status).toBe(ServingStatus.NOT_SERVING);
    server.setServing(true);
    for (const service of ['', NameServerService.typeName, Health.typeName]) {
      expect((await check(service)).status).toBe(ServingStatus.SERVING);
    }
    await expect(check('other')).rejects.toMatchObject({ code: status.NOT_FOUND });
  });

  test('is pushed to watchers, and a service that is not there is told as such', async () => {
    const watch = async (service: string) => {
      const stream = openServerStream(client, Health.method.watch, { service });
      const seen: ServingStatus[] = [];
      stream.on('data', (response) => seen.push(response.status));
      await once(stream, 'data');
      return { seen, ended: once(stream, 'end') };
    };
    const [known, unknown] = await Promise.all([watch(''), watch('other')]);
    server.setServing(true);
    server.setServing(true);
    const stopped = server.stop(60_000);
    await Promise.all([known.ended, unknown.ended, stopped]);
    const { NOT_SERVING, SERVING, SERVICE_UNKNOWN } = ServingStatus;
    expect(known.seen).toEqual([NOT_SERVING, SERVING, NOT_SERVING]);
    expect(new Set(unknown.seen)).toEqual(new Set([SERVICE_UNKNOWN]));
  });
});

describe('stopping', () => {
  test('lets calls in flight finish, and accepts no new ones', async () => {
    let finish = (): void => {};
    const begun = new Promise<void>((resolve) => {
      handle = () => {
        resolve();
        return new Promise((answer) => {
          finish = () => answer(ANSWER);
        });
      };
    });
    const inFlight = queryRoute('a');
    await begun;
    const stopped = server.stop(60_000);
    expect(server.closing.aborted).toBe(true);
    const fresh = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const { queryRoute: method } = NameServerService.method;
    await expect(callUnary(fresh, method, { topic: 'b' }, {})).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
    fresh.close();
    finish();
    await inFlight;
    await stopped;
    expect(server.connections).toBe(0);
  });

  test('breaks calls off when the grace is over', async () => {
    const begun = new Promise<void>((resolve) => {
      handle = () => {
        resolve();
        return new Promise(() => {});
      };
    });
    const inFlight = queryRoute('a', 60_000);
    await begun;
    const broken = expect(inFlight).rejects.toMatchObject({ code: status.UNAVAILABLE });
    const stopped = server.stop(5000);
    clock.advance(5000);
    await Promise.all([stopped, broken]);
    expect(clock.pending).toBe(0);
  });
});
