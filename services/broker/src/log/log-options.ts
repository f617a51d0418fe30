// How a log is kept, what opening it finds, and who is told of its progress.

import type { LogReader } from './log-reader.ts';
import { RECORD_BYTES_MAX } from './record.ts';
import type { CorruptRange } from './scan.ts';

/** When producers are answered: after fdatasync, or after the page cache. */
export type FlushMode = 'sync' | 'async';

/** How a log is kept. */
export interface LogOptions {
  /** Folder of the data; the log uses `log/` and `watermark` in it. */
  readonly folder: string;
  /** Size of a segment file; at least two records of the largest size. */
  readonly segmentBytes: number;
  /** When records become visible. */
  readonly flushMode: FlushMode;
  /** In mode `async`: the longest time until written records are made durable. */
  readonly flushIntervalMs: number;
  /** Bytes that may be written and not durable; producers wait above it. */
  readonly unsyncedBytesMax: number;
  /** Size of a slab of the tail cache. */
  readonly slabBytes: number;
  /** Number of slabs. */
  readonly slabs: number;
  /** The log takes a master's records (`follow`) until it is told to lead. Default: it leads from the beginning. */
  readonly following?: boolean;
  /** Reads what lies below the log's start, when that is the continuation of another one. */
  readonly below?: LogReader;
}

/** Defaults of LogOptions. */
export const LOG_DEFAULTS = {
  segmentBytes: 256 << 20,
  flushMode: 'sync',
  flushIntervalMs: 200,
  unsyncedBytesMax: 64 << 20,
  slabBytes: RECORD_BYTES_MAX,
  slabs: 6,
} as const satisfies Partial<LogOptions>;

/** What opening a log found. */
export interface LogRecovery {
  /** Position that reading began at. */
  readonly from: number;
  /** Position behind the last record. */
  readonly end: number;
  /** Bytes behind it that a crash had left of records that were never durable. */
  readonly tornBytes: number;
  /** Ranges that were durable and do not check out any more. */
  readonly corrupt: readonly CorruptRange[];
}

/** Who is told of the log's progress. */
export interface LogObserver {
  /** More has become visible, or durable. */
  advanced(): void;
  /** More has been written to the page cache. */
  wrote?(): void;
  /** Writing or syncing failed for good; the process must end. */
  failed(error: Error): void;
}
