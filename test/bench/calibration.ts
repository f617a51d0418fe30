// What the machine can do in this minute: a raw gRPC echo of frames, and raw appends with fdatasync. Results of two
// sessions are compared as ratios to these, because absolute figures of shared machines swing by a factor of two.

import { closeSync, fdatasyncSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Client, credentials, Metadata, Server, ServerCredentials } from '@grpc/grpc-js';

const ECHO_FRAMES = 2000;
const ECHO_FRAME_BYTES = 64 << 10;
const ECHO_IN_FLIGHT = 16;
const SYNCS = 200;
const SYNC_BYTES = 128 << 10;

/** What the machine did. */
export interface Calibration {
  /** Frames of 64 KiB that went to a gRPC server in this process, per second. */
  readonly echoFramesPerSecond: number;
  /** Appends of 128 KiB with fdatasync, per second. */
  readonly syncsPerSecond: number;
}

const raw = (bytes: Buffer): Buffer => bytes;
const ECHO = {
  path: '/calibration/Echo',
  requestStream: true,
  responseStream: true,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
} as const;

async function echoFramesPerSecond(): Promise<number> {
  const server = new Server();
  server.addService(
    { echo: ECHO },
    {
      echo: (call: import('@grpc/grpc-js').ServerDuplexStream<Buffer, Buffer>) => {
        call.on('data', () => call.write(Buffer.alloc(8)));
        call.on('end', () => call.end());
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const call = client.makeBidiStreamRequest(ECHO.path, raw, raw, new Metadata());
  const frame = Buffer.alloc(ECHO_FRAME_BYTES, 7);
  const begin = performance.now();
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    const send = (): void => {
      while (sent < ECHO_FRAMES && sent - answered < ECHO_IN_FLIGHT) {
        sent++;
        call.write(frame);
      }
    };
    call.on('data', () => {
      answered++;
      if (answered === ECHO_FRAMES) resolve();
      else send();
    });
    call.on('error', reject);
    send();
  });
  const seconds = (performance.now() - begin) / 1000;
  call.end();
  client.close();
  server.forceShutdown();
  return ECHO_FRAMES / seconds;
}

function syncsPerSecond(folder: string): number {
  const path = join(folder, 'calibration');
  const file = openSync(path, 'w');
  try {
    ftruncateSync(file, SYNCS * SYNC_BYTES);
    const bytes = Buffer.alloc(SYNC_BYTES, 7);
    const begin = performance.now();
    for (let i = 0; i < SYNCS; i++) {
      writeSync(file, bytes, 0, SYNC_BYTES, i * SYNC_BYTES);
      fdatasyncSync(file);
    }
    return SYNCS / ((performance.now() - begin) / 1000);
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

/** Measures the machine; takes about two seconds. */
export async function calibrate(folder: string): Promise<Calibration> {
  return {
    echoFramesPerSecond: await echoFramesPerSecond(),
    syncsPerSecond: syncsPerSecond(folder),
  };
}
