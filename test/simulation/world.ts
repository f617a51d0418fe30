// Virtual time: everything that happens in a run is an event of this queue, one after the other, so that one seed is one
// run. Each event belongs to a process of a simulated machine; those of a process that has died are dropped.

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock, Random, Timer } from '@ternmq/runtime';
import { seededRandom, sleepOn } from '@ternmq/runtime';

/** Wall time at which every run begins. */
const START_MS = Date.UTC(2026, 0, 1);

/** Node's own, before `takeOver` replaces what the product finds. */
const nextTurn = setImmediate;

/** A process of a simulated machine. */
export class Process {
  /** Name of its machine. */
  readonly host: string;
  alive = true;
  /** How far its wall clock is off, in milliseconds. */
  readonly skewMs: number;

  constructor(host: string, skewMs = 0) {
    this.host = host;
    this.skewMs = skewMs;
  }
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly process: Process | undefined;
  run: (() => void) | undefined;
}

/** What a run consists of. */
export class World {
  readonly random: Random;
  nowMs = 0;
  /** Events that have happened. */
  happened = 0;
  /** A number that two runs share only when they are the same. */
  trace = 0x811c9dc5;
  /** What nobody has caught. */
  failure: Error | undefined;
  readonly #events: Event[] = [];
  readonly #current = new AsyncLocalStorage<Process>();
  #order = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** The process whose code runs; undefined for the harness. */
  get process(): Process | undefined {
    return this.#current.getStore();
  }

  /** Runs something as a process. */
  as<Result>(process: Process, run: () => Result): Result {
    return this.#current.run(process, run);
  }

  /** Adds to the trace. */
  note(value: number): void {
    this.trace = Math.imul(this.trace ^ (value | 0), 0x01000193) >>> 0;
  }

  /** Has something happen after a delay in milliseconds, to a process, or to the harness. */
  after(delayMs: number, process: Process | undefined, run: () => void): Timer {
    const event: Event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.#order++,
      process,
      run,
    };
    this.#push(event);
    return {
      cancel: () => {
        event.run = undefined;
      },
    };
  }

  /** Lets time pass; stops when something was not caught. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const [first] = this.#events;
      if (first === undefined || first.atMs > untilMs || this.failure !== undefined) break;
      this.#pop();
      const { run, process } = first;
      if (run === undefined || process?.alive === false) continue;
      this.nowMs = Math.max(this.nowMs, first.atMs);
      this.happened++;
      this.note(first.order);
      try {
        if (process === undefined) run();
        else this.#current.run(process, run);
      } catch (error) {
        this.failure ??= error as Error;
      }
      await new Promise<void>((resolve) => nextTurn(resolve));
    }
    if (this.failure !== undefined) throw this.failure;
    this.nowMs = untilMs;
  }

  /** Lets time pass until something holds, looking every so often; false when it does not within the time. */
  async until(holds: () => boolean, withinMs: number, everyMs = 50): Promise<boolean> {
    const endMs = this.nowMs + withinMs;
    while (!holds()) {
      if (this.nowMs >= endMs) return false;
      await this.pass(everyMs);
    }
    return true;
  }

  /** Lets time pass until a promise is settled. */
  async settled<Value>(promise: Promise<Value>, withinMs: number): Promise<Value> {
    let done = false;
    const finished = promise.finally(() => {
      done = true;
    });
    finished.catch(() => {});
    if (!(await this.until(() => done, withinMs, 10))) {
      throw new Error(`nothing came of it within ${withinMs} ms`);
    }
    return finished;
  }

  /** Has something happen again and again. */
  every(intervalMs: number, process: Process | undefined, run: () => void): Timer {
    let timer: Timer;
    const fire = (): void => {
      timer = this.after(intervalMs, process, fire);
      run();
    };
    timer = this.after(intervalMs, process, fire);
    return { cancel: () => timer.cancel() };
  }

  /** The clock of a process. */
  clockOf(process: Process): Clock {
    const setTimer: Clock['setTimer'] = (delayMs, callback) =>
      this.after(delayMs, process, callback);
    return {
      nowMs: () => Math.floor(START_MS + this.nowMs + process.skewMs),
      monotonicMs: () => this.nowMs,
      setTimer,
      defer: (callback) => {
        this.after(0, process, callback);
      },
      every: (intervalMs, callback) => this.every(intervalMs, process, callback),
      sleep: (delayMs, signal) => sleepOn({ setTimer }, delayMs, signal),
    };
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(events[parent] as Event, event)) break;
      events[at] = events[parent] as Event;
      at = parent;
    }
    events[at] = event;
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop() as Event;
    if (events.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      const right = events[child + 1];
      if (right !== undefined && isBefore(right, events[child] as Event)) child++;
      if (isBefore(last, events[child] as Event)) break;
      events[at] = events[child] as Event;
      at = child;
    }
    events[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

let world: World | undefined;

/** The run that the replaced modules belong to. */
export function theWorld(): World {
  if (world === undefined) throw new Error('no simulation runs');
  return world;
}

/** Begins a run. */
export function beginWorld(seed: number): World {
  world = new World(seed);
  return world;
}

/** Gives all code of this process virtual time, and chance of the run's seed. */
export function takeOver(): void {
  const timeout = (callback: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) =>
    handle(theWorld().after(ms, theWorld().process, () => callback(...values)));
  const replaced = {
    setTimeout: timeout,
    clearTimeout: (timer: Timer | undefined) => timer?.cancel(),
    setInterval: (callback: () => void, ms: number) =>
      handle(theWorld().every(ms, theWorld().process, callback)),
    clearInterval: (timer: Timer | undefined) => timer?.cancel(),
    setImmediate: (callback: (...values: unknown[]) => void, ...values: unknown[]) =>
      timeout(callback, 0, ...values),
    clearImmediate: (timer: Timer | undefined) => timer?.cancel(),
  };
  Object.assign(globalThis, replaced);
  Math.random = () => theWorld().random.next();
  Date.now = () => Math.floor(START_MS + theWorld().nowMs + (theWorld().process?.skewMs ?? 0));
  performance.now = () => theWorld().nowMs;
  const uncaught = (error: unknown): void => {
    if (world?.process?.alive === false) return;
    if (world === undefined) throw error;
    world.failure ??= error as Error;
  };
  process.on('unhandledRejection', uncaught);
  process.on('uncaughtException', uncaught);
}

function handle(timer: Timer): Timer & { unref(): unknown; ref(): unknown } {
  const whole = { ...timer, unref: () => whole, ref: () => whole };
  return whole;
}
