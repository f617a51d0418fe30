// Sends frames that were encoded before the clock starts, and sends each again when it has its outcome: nothing is
// made for a message while it runs.
//
//   closed loop (no rate): a frame leaves when another has its outcome; its time counts from when it left
//   open loop (a rate):    frame i is due at i * batch / rate; its time counts from when it was due, so that a
//                          broker that stalls is charged for all that waited meanwhile

import { randomBytes } from 'node:crypto';
import { systemClock } from '@ternmq/runtime';
import type { EncodedFrame, FrameReceipt, FrameRest, FrameSender } from '@ternmq/sdk';
import type { Load } from './load-flags.ts';

const DRAIN_MS_MAX = 10_000;
const CHECK_MS = 20;
/** Nearer than this, waiting for a frame's time is left to turns of the event loop: timers are too coarse. */
const SPIN_MS = 2;

interface Slot {
  readonly frame: EncodedFrame;
  /** From when its time counts. */
  fromMs: number;
}

/** Told of what happens to frames. */
export interface GeneratorObserver {
  /** A frame is about to leave; its bytes may be changed. */
  leaving?(frame: EncodedFrame, fromMs: number): void;
  /** It is stored. */
  stored(messages: number, ms: number, receipt: FrameReceipt | undefined): void;
  /** It was refused, or has no outcome at the end. */
  failed(messages: number, error: Error): void;
}

/** Bodies of random bytes that begin with `head`. */
export function randomBodies(count: number, size: number, head: Uint8Array): Buffer[] {
  const pool = randomBytes(count * size);
  return Array.from({ length: count }, (_, index) => {
    const body = pool.subarray(index * size, (index + 1) * size);
    body.set(head.subarray(0, size));
    return body;
  });
}

/**
 * Generates load until it is enough or aborted, and waits for what is under way, but at most 10 s.
 *
 * @param options.head what every body begins with
 * @param options.rest what a message has beside its body, by its number among all that are encoded
 */
export function generateLoad(
  sender: FrameSender,
  load: Load,
  observer: GeneratorObserver,
  signal: AbortSignal,
  {
    head = new Uint8Array(),
    rest = () => ({}),
  }: { readonly head?: Uint8Array; readonly rest?: (message: number) => FrameRest } = {},
): Promise<void> {
  const { batch, size, rate } = load;
  const frames = Math.ceil(load.messagesMax / batch);
  const slots = Math.min(load.inFlight, frames);
  const free: Slot[] = Array.from({ length: slots }, (_, slot) => ({
    frame: sender.encode(randomBodies(batch, size, head), (index) => rest(slot * batch + index)),
    fromMs: 0,
  }));
  const { promise, resolve } = Promise.withResolvers<void>();
  const startMs = systemClock.monotonicMs();
  const msPerFrame = rate === undefined ? 0 : (batch / rate) * 1000;
  let left = 0;
  let underWay = 0;
  let ended = false;
  let stopMs = Number.POSITIVE_INFINITY;

  const enough = (nowMs: number): boolean =>
    left >= frames || nowMs - startMs >= load.durationMs || signal.aborted;

  const write = (slot: Slot, fromMs: number): void => {
    left++;
    underWay++;
    slot.fromMs = fromMs;
    observer.leaving?.(slot.frame, fromMs);
    sender.write(slot.frame, (error, receipt) => {
      if (ended) return;
      underWay--;
      const nowMs = systemClock.monotonicMs();
      if (error === undefined) observer.stored(batch, nowMs - slot.fromMs, receipt);
      else observer.failed(batch, error);
      free.push(slot);
      if (rate === undefined) fill(nowMs);
      else sendDue();
      if (underWay === 0 && enough(nowMs)) end();
    });
  };

  const fill = (nowMs: number): void => {
    while (free.length > 0 && !enough(nowMs)) write(free.pop() as Slot, nowMs);
  };

  const sendDue = (): void => {
    const nowMs = systemClock.monotonicMs();
    while (free.length > 0 && !enough(nowMs)) {
      const dueMs = startMs + left * msPerFrame;
      if (dueMs > nowMs) return;
      write(free.pop() as Slot, dueMs);
    }
  };

  const paced = (): void => {
    sendDue();
    const nowMs = systemClock.monotonicMs();
    if (ended || enough(nowMs)) return;
    const waitMs = startMs + left * msPerFrame - nowMs;
    if (waitMs > SPIN_MS || free.length === 0)
      systemClock.setTimer(Math.max(1, waitMs - SPIN_MS), paced);
    else systemClock.defer(paced);
  };

  const end = (): void => {
    if (ended) return;
    ended = true;
    check.cancel();
    if (underWay > 0) {
      observer.failed(
        underWay * batch,
        new Error(`no outcome within ${DRAIN_MS_MAX} ms of the end`),
      );
    }
    resolve();
  };

  const check = systemClock.every(CHECK_MS, () => {
    const nowMs = systemClock.monotonicMs();
    if (!enough(nowMs)) return;
    stopMs = Math.min(stopMs, nowMs);
    if (underWay === 0 || nowMs - stopMs > DRAIN_MS_MAX) end();
  });

  if (rate === undefined) fill(startMs);
  else paced();
  return promise;
}
