// `tern bench e2e`: produces and consumes the same messages in one process, and measures from when a message was due
// to be sent until it is delivered. Each body begins with a mark of this run and the time:
//
//    0  mark  8  random, the same for the whole run: others' messages are left out
//    8  time  8  float64, milliseconds of this process's clock

import { randomBytes, randomUUID } from 'node:crypto';
import { systemClock } from '@ternmq/runtime';
import type { Client, EncodedFrame, FrameSender } from '@ternmq/sdk';
import type { Command } from 'commander';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { UsageError } from '../../exit-code.ts';
import { print } from '../../output.ts';
import { showProgress } from '../../progress.ts';
import { generateLoad, randomBodies } from './generator.ts';
import { Latencies } from './latencies.ts';
import { addLoadFlags, type LoadFlags, loadOf } from './load-flags.ts';
import { measurementText, StopWatch } from './measurement.ts';
import { stopSignal } from './stop-signal.ts';

const MARK_BYTES = 8;
const HEAD_BYTES = 16;
const PROBE_MS = 50;
const READY_MS_MAX = 10_000;
const ARRIVE_MS_MAX = 10_000;
const PREFETCH = { messages: 16_384, bytes: 64 << 20 };

/** Adds the command. */
export function addEndToEnd(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'e2e',
      summary: 'send and receive at the same time; latency is from sending to delivery',
      examples: [
        'tern bench e2e --topic load --batch 1 --rate 1000 --seconds 10',
        'tern bench e2e --topic load --batch 64 --in-flight 64 --seconds 10 -o json',
      ],
    },
    (command) => addLoadFlags(command, { batch: 1, inFlight: 64 }),
    endToEnd,
  );
}

async function endToEnd({ client, flags, format, options }: ClientCall<LoadFlags>): Promise<void> {
  const load = loadOf(flags);
  if (load.size < HEAD_BYTES) throw new UsageError(`--size must be at least ${HEAD_BYTES} here`);
  const sender = await client.producer().frames(load.topic);
  const stop = stopSignal();
  const group = `bench-${randomUUID()}`;
  try {
    const arrivals = new Arrivals();
    const consumer = await subscribe(client, sender, load.topic, group, arrivals);
    let sent = 0;
    let errors = 0;
    const mark = randomBytes(MARK_BYTES);
    const progress = showProgress('messages', () => arrivals.messages);
    const times = new FrameTimes(mark);
    const watch = new StopWatch();
    arrivals.expect(mark, () => watch.lap());
    await generateLoad(
      sender,
      load,
      {
        leaving: (frame, fromMs) => times.write(frame, fromMs),
        stored: (count) => {
          sent += count;
        },
        failed: (count) => {
          errors += count;
        },
      },
      stop.signal,
      { head: mark },
    );
    await arrivals.reach(sent);
    progress.stop();
    const { messages, latencies } = arrivals;
    const missing = Math.max(0, sent - messages);
    const result = watch.measurement(messages, load.size, latencies, errors + missing);
    await print(measurementText(result, format));
    await consumer.close();
    if (errors + missing > 0) {
      throw new Error(`${errors} messages were not stored, ${missing} did not come`);
    }
  } finally {
    stop.release();
    await client.admin.deleteGroup(group, options).catch(() => {});
  }
}

/** Where in each frame the times lie; frames are used again, so they are searched once. */
class FrameTimes {
  readonly #mark: Buffer;
  readonly #places = new Map<EncodedFrame, readonly number[]>();

  constructor(mark: Buffer) {
    this.#mark = mark;
  }

  /** Writes a time into every message of a frame. */
  write(frame: EncodedFrame, fromMs: number): void {
    let places = this.#places.get(frame);
    if (places === undefined) {
      places = this.#find(frame.bytes);
      this.#places.set(frame, places);
    }
    for (const at of places) frame.bytes.writeDoubleLE(fromMs, at);
  }

  #find(bytes: Buffer): number[] {
    const places: number[] = [];
    for (let at = bytes.indexOf(this.#mark); at >= 0; at = bytes.indexOf(this.#mark, at + 1)) {
      places.push(at + MARK_BYTES);
    }
    return places;
  }
}

/** Counts the messages that arrive, and how long they took. */
class Arrivals {
  latencies = new Latencies();
  messages = 0;
  #mark: Buffer = Buffer.alloc(0);
  #arrived: () => void = () => {};
  #goal = Number.POSITIVE_INFINITY;
  #reached: () => void = () => {};

  /** From now on messages with this mark count. */
  expect(mark: Buffer, arrived: () => void): void {
    this.#mark = mark;
    this.#arrived = arrived;
    this.latencies = new Latencies();
    this.messages = 0;
  }

  /** Takes a delivered message. */
  take(bytes: Buffer, start: number, end: number, nowMs: number): void {
    const at = bytes.indexOf(this.#mark, start);
    if (at < 0 || at >= end || this.#mark.length === 0) return;
    this.latencies.add(Math.max(0, nowMs - bytes.readDoubleLE(at + MARK_BYTES)), 1);
    this.messages++;
    this.#arrived();
    if (this.messages >= this.#goal) this.#reached();
  }

  /** Resolves when so many messages have arrived, or none comes any more. */
  async reach(goal: number): Promise<void> {
    if (this.messages >= goal) return;
    this.#goal = goal;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#reached = resolve;
    let seen = this.messages;
    const check = systemClock.every(ARRIVE_MS_MAX, () => {
      if (this.messages === seen) resolve();
      seen = this.messages;
    });
    await promise.finally(() => check.cancel());
  }
}

/**
 * Subscribes, and returns when deliveries come: messages are sent until one of them arrives. They are not counted.
 */
async function subscribe(
  client: Client,
  sender: FrameSender,
  topic: string,
  group: string,
  arrivals: Arrivals,
): Promise<{ close(): Promise<void> }> {
  const mark = randomBytes(MARK_BYTES);
  const probe = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const frame = sender.encode(randomBodies(1, HEAD_BYTES, mark));
      sender.write(frame, (error) => (error === undefined ? resolve() : reject(error)));
    });
  // The first one creates the topic, where that is allowed.
  await probe();
  const consumer = client.consumer(group, { from: 'last', prefetch: PREFETCH });
  consumer.subscribe(topic);
  const { promise: arrived, resolve } = Promise.withResolvers<void>();
  arrivals.expect(mark, resolve);
  const run = consumer.runFrames((frame) => {
    const nowMs = systemClock.monotonicMs();
    for (const { bytes, start, end } of frame.records()) arrivals.take(bytes, start, end, nowMs);
  });
  let probing = true;
  const untilMs = systemClock.monotonicMs() + READY_MS_MAX;
  const keepProbing = async (): Promise<void> => {
    while (probing) {
      await probe();
      if (systemClock.monotonicMs() > untilMs) throw new Error('no delivery within 10 s');
      await systemClock.sleep(PROBE_MS);
    }
  };
  await Promise.race([arrived, run.ended, keepProbing()]).finally(() => {
    probing = false;
  });
  return consumer;
}
