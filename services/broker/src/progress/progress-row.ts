// The row of FLOORS, numbers and texts as in row-bytes.ts:
//
//   version    number   2; 1 for a row without generation
//   floor      number
//   next       number   minus floor
//   generation number
//   passed     number   how many ranges; then of each
//     from     number   minus the end of the range before, the first one minus floor
//     to       number   minus from
//   consumers  number   how many; then of each
//     id       text
//   leases     number   how many; then of each, by offset
//     first    number   minus the end of the lease before, the first one minus floor
//     end      number   minus first
//     lease id number
//     deadline number   milliseconds since the Unix epoch
//     consumer number   2 * index in consumers, + 1 when streaming
//
// What a lease has below the floor is left out: all of that is settled.

import type { Lease } from './lease-list.ts';
import { corruptRow, RowReader, RowWriter } from './row-bytes.ts';

const ROW_VERSION = 2;
const WITHOUT_GENERATION = 1;

/** What the row says of a lease. */
export type LeaseInRow = Omit<Lease, 'outstanding'>;

/** What the row says. */
export interface ProgressRow {
  readonly floor: number;
  readonly next: number;
  /** As QueueProgress.generation. */
  readonly generation: number;
  /** Passed ranges above the floor: from, to, from, to, … */
  readonly passed: readonly number[];
  /** Leases of first deliveries, by offset. */
  readonly leases: readonly LeaseInRow[];
}

/** Writes the row. */
export function encodeProgressRow(progress: ProgressRow): Buffer {
  const { floor, next, generation, passed, leases } = progress;
  const row = new RowWriter();
  row.number(ROW_VERSION);
  row.number(floor);
  row.number(next - floor);
  row.number(generation);
  row.number(passed.length / 2);
  let last = floor;
  for (const bound of passed) {
    row.number(bound - last);
    last = bound;
  }
  const consumers = new Map<string, number>();
  for (const { consumerId } of leases) {
    if (!consumers.has(consumerId)) consumers.set(consumerId, consumers.size);
  }
  row.number(consumers.size);
  for (const consumerId of consumers.keys()) row.text(consumerId);
  row.number(leases.length);
  last = floor;
  for (const lease of leases) {
    const first = Math.max(lease.first, floor);
    row.number(first - last);
    row.number(lease.end - first);
    row.number(lease.leaseId);
    row.number(lease.deadlineMs);
    row.number(2 * (consumers.get(lease.consumerId) as number) + (lease.streaming ? 1 : 0));
    last = lease.end;
  }
  return row.finish();
}

/**
 * Reads the row.
 *
 * @throws TernError DATA_LOSS with reason CORRUPT_STATE
 */
export function decodeProgressRow(bytes: Uint8Array): ProgressRow {
  const row = new RowReader(bytes);
  const version = row.number();
  if (version !== ROW_VERSION && version !== WITHOUT_GENERATION) {
    throw corruptRow('it has an unknown version');
  }
  const floor = row.number();
  const next = floor + row.number();
  const generation = version === ROW_VERSION ? row.number() : 0;
  const passed: number[] = [];
  let last = floor;
  for (let count = row.number(); count > 0; count--) {
    const from = last + row.number();
    const to = from + row.number();
    if (from === last || from === to) throw corruptRow('its ranges touch or are empty');
    passed.push(from, to);
    last = to;
  }
  if (last > next) throw corruptRow('a range lies behind the next offset');
  const consumers: string[] = [];
  for (let count = row.number(); count > 0; count--) consumers.push(row.text());
  const leases: LeaseInRow[] = [];
  last = floor;
  for (let count = row.number(); count > 0; count--) {
    const first = last + row.number();
    const end = first + row.number();
    const leaseId = row.number();
    const deadlineMs = row.number();
    const consumer = row.number();
    const consumerId = consumers[Math.floor(consumer / 2)];
    if (consumerId === undefined) throw corruptRow('a lease has no consumer');
    leases.push({ first, end, leaseId, deadlineMs, consumerId, streaming: consumer % 2 === 1 });
    last = end;
  }
  if (last > next) throw corruptRow('a lease lies behind the next offset');
  row.end();
  return { floor, next, generation, passed, leases };
}
