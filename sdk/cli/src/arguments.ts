// Values of arguments and flags as people write them.

import { parseBytes, parseDuration } from '@ternmq/runtime';
import type { ResetTarget, RetryBackoff, StartPoint } from '@ternmq/sdk';
import { InvalidArgumentError } from 'commander';

const ISO_TIME = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/;
const TIME_FORMS =
  'a time such as 2026-11-23T08:00:00Z or, for 15 minutes ago, 15m (ms, s, m, h or d)';

/** Reads a whole number within bounds; for commander's options. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    const bounds = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `from ${min} to ${max}`;
    throw new InvalidArgumentError(`It must be a whole number, ${bounds}.`);
  };
}

/** Reads a number above 0, which may have a fraction. */
export function positiveNumber(text: string): number {
  const value = /^\d{1,12}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
}

/** Reads a span of time into milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && Number.isSafeInteger(ms)) return ms;
  throw new InvalidArgumentError('It must be a time such as 200ms, 15s, 72h or 7d.');
}

/** Reads `true` or `false`; for a flag that may stand alone, which is true. */
export function yesOrNo(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InvalidArgumentError('It must be true or false.');
}

/** Reads times separated by commas into milliseconds. */
export function durations(text: string): number[] {
  return text.split(',').map((part) => duration(part.trim()));
}

/** Reads growing pauses, `initial[,multiplier[,max]]`. */
export function backoff(text: string): RetryBackoff {
  const [initial = '', factor, longest, ...rest] = text.split(',').map((part) => part.trim());
  if (rest.length > 0) {
    throw new InvalidArgumentError('It must be initial, multiplier and max, such as 1s,2,10m.');
  }
  return {
    initialMs: duration(initial),
    ...(factor === undefined ? {} : { multiplier: positiveNumber(factor) }),
    ...(longest === undefined ? {} : { maxMs: duration(longest) }),
  };
}

/** Reads a size into bytes. */
export function size(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError('It must be a size such as 4096, 64KiB or 10GiB.');
}

/** Reads `name=value` and adds it to those before. */
export function property(
  text: string,
  previous: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = text.indexOf('=');
  if (at > 0) return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
  throw new InvalidArgumentError('It must be name=value.');
}

/** Adds a value to those before: for options that may be given several times. */
export function several(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}

function time(text: string, nowMs: number): Date | undefined {
  if (ISO_TIME.test(text)) {
    const date = new Date(text);
    return Number.isNaN(date.getTime()) ? undefined : date;
  }
  const agoMs = text === '0' ? undefined : parseDuration(text);
  return agoMs === undefined || agoMs > nowMs ? undefined : new Date(nowMs - agoMs);
}

/** Reads a time that lies ahead. */
export function futureTime(text: string): Date {
  const date = ISO_TIME.test(text) ? new Date(text) : undefined;
  if (date !== undefined && !Number.isNaN(date.getTime())) return date;
  throw new InvalidArgumentError('It must be a time such as 2026-11-23T08:00:00Z.');
}

/** Reads where to start: `begin`, `end` or a time. */
export function startPoint(nowMs: () => number): (text: string) => 'first' | 'last' | Date {
  return (text) => {
    if (text === 'begin') return 'first';
    if (text === 'end') return 'last';
    const at = time(text, nowMs());
    if (at !== undefined) return at;
    throw new InvalidArgumentError(`It must be begin, end or ${TIME_FORMS}.`);
  };
}

/** Reads where to set progress: as a start point, an offset, or `+n` and `-n` from where it is. */
export function resetTarget(nowMs: () => number): (text: string) => ResetTarget {
  return (text) => {
    if (/^[+-]\d{1,15}$/.test(text)) return { shift: Number(text) };
    if (/^\d{1,15}$/.test(text)) return { offset: Number(text) };
    try {
      const point: StartPoint = startPoint(nowMs)(text);
      return point;
    } catch {
      throw new InvalidArgumentError(`It must be begin, end, an offset, +n, -n, or ${TIME_FORMS}.`);
    }
  };
}
