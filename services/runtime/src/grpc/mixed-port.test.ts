import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { type ChannelCredentials, Client, credentials } from '@grpc/grpc-js';
import {
  NameServerService,
  QueryRouteResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../clock.ts';
import { nodeDisk } from '../disk.ts';
import { createLogger } from '../logger.ts';
import { systemRandom } from '../random.ts';
import { certificateFiles, ownCertificate } from '../tls/certificates.ts';
import { type Certificate, selfSigned } from '../tls/self-signed.ts';
import { callUnary } from './client.ts';
import { GrpcServer } from './server.ts';
import { unary } from './unary.ts';

const clock = new ManualClock(Date.now());
const logger = createLogger({ level: 'silent' });
const modules = { disk: nodeDisk, clock, random: systemRandom, logger };
let folder: string;
let server: GrpcServer;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ternmq-tls-'));
  server = new GrpcServer({ connectionsMax: 3 }, { clock });
  server.add(NameServerService, { queryRoute: unary(() => create(QueryRouteResponseSchema)) });
});
afterEach(async () => {
  const stopped = server.stop(0);
  clock.advance(0);
  await stopped;
  rmSync(folder, { recursive: true });
});

async function call(port: number, how: ChannelCredentials, host = '127.0.0.1'): Promise<string> {
  const client = new Client(`${host}:${port}`, how);
  try {
    const { queryRoute } = NameServerService.method;
    const deadline = Date.now() + 5000;
    return (await callUnary(client, queryRoute, { topic: 't' }, { deadline })).$typeName;
  } finally {
    client.close();
  }
}

const ANSWER = 'ternmq.nameserver.v1.QueryRouteResponse';

test('one port takes connections in the clear and encrypted ones, with a certificate that it signs itself and keeps', async () => {
  const own = join(folder, 'tls');
  const certificates = ownCertificate(own, ['localhost', '127.0.0.1'], modules);
  const port = await server.listen('127.0.0.1', 0, { certificates, required: false });
  expect(await call(port, credentials.createInsecure())).toBe(ANSWER);
  const { certificate, key } = await certificates.current();
  expect(await call(port, credentials.createSsl(certificate))).toBe(ANSWER);
  expect(await call(port, credentials.createSsl(certificate), 'localhost')).toBe(ANSWER);
  expect(statSync(join(own, 'key.pem')).mode & 0o777).toBe(0o600);
  const again = await ownCertificate(own, ['localhost'], modules).current();
  expect(again).toEqual({ certificate, key });
});

test('where encryption is required, connections in the clear are closed', async () => {
  const certificates = ownCertificate(folder, ['127.0.0.1'], modules);
  const port = await server.listen('127.0.0.1', 0, { certificates, required: true });
  const { certificate } = await certificates.current();
  expect(await call(port, credentials.createSsl(certificate))).toBe(ANSWER);
  await expect(call(port, credentials.createInsecure())).rejects.toMatchObject({ code: 14 });
});

test('given files are used, and read again when they change; what cannot be used changes nothing', async () => {
  const files = [join(folder, 'c.pem'), join(folder, 'k.pem')] as const;
  const write = ({ certificate, key }: Certificate): void => {
    writeFileSync(files[0], certificate);
    writeFileSync(files[1], key);
  };
  const [first, second] = await Promise.all([
    selfSigned(['127.0.0.1'], modules),
    selfSigned(['127.0.0.1'], modules),
  ]);
  write(first);
  const certificates = certificateFiles(...files, modules);
  const port = await server.listen('127.0.0.1', 0, { certificates, required: true });
  expect(await call(port, credentials.createSsl(first.certificate))).toBe(ANSWER);
  write({ ...second, key: Buffer.from('garbage') });
  clock.advance(6000);
  expect(await call(port, credentials.createSsl(first.certificate))).toBe(ANSWER);
  write(second);
  clock.advance(6000);
  expect(await call(port, credentials.createSsl(second.certificate))).toBe(ANSWER);
  await expect(call(port, credentials.createSsl(first.certificate))).rejects.toMatchObject({
    code: 14,
  });
});

test('files that are no certificate and key are refused with what to do', () => {
  const missing = join(folder, 'missing.pem');
  expect(() => certificateFiles(missing, missing, modules)).toThrow(/Both are PEM files/);
});

test('a connection that says nothing is closed after ten seconds, and garbage harms nobody', async () => {
  const certificates = ownCertificate(folder, ['127.0.0.1'], modules);
  const port = await server.listen('127.0.0.1', 0, { certificates, required: false });
  const silent: Socket = connect(port, '127.0.0.1');
  await once(silent, 'connect');
  // A handshake that never goes on.
  const halting = connect(port, '127.0.0.1');
  halting.on('error', () => {});
  halting.write(Buffer.from([0x16, 3, 1, 0xff]));
  const garbage = connect(port, '127.0.0.1');
  garbage.on('error', () => {});
  garbage.write('no http at all');
  const closed = once(silent, 'close');
  for (let second = 0; second < 11; second++) {
    clock.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  halting.destroy();
  garbage.destroy();
  expect(await call(port, credentials.createInsecure())).toBe(ANSWER);
});

test('a certificate of its own stands for the names and addresses that it was made for', async () => {
  const certificates = ownCertificate(folder, ['mq.example', '127.0.0.1'], modules);
  const port = await server.listen('127.0.0.1', 0, { certificates, required: false });
  const { certificate } = await certificates.current();
  const socket: TLSSocket = connectTls({
    port,
    host: '127.0.0.1',
    ca: certificate,
    ALPNProtocols: ['h2'],
  });
  await once(socket, 'secureConnect');
  expect(socket.authorized).toBe(true);
  expect(socket.getPeerCertificate().subjectaltname).toBe('DNS:mq.example, IP Address:127.0.0.1');
  socket.destroy();
});
