// Snapshots: copies of the state's small tables in the log itself, so that old segments can go and the state
// can still be built from the log alone.
//
// A snapshot is what the store holds at one moment, which is the effect of every record before the store's
// position. It is written in parts between other records; only one with its end mark counts.

import { create, fromBinary } from '@bufbuild/protobuf';
import {
  type SnapshotRow,
  SnapshotRowSchema,
  StateRecordSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { assert, type Clock } from '@ternmq/runtime';
import { RECORD_PREFIX_BYTES, RecordTag } from '../log/record.ts';
import { scanReadOnly } from '../log/scan.ts';
import type { Segments } from '../log/segments.ts';
import type { Watermark } from '../log/watermark-file.ts';
import { META_KEY, Table, tableEnd, tableStart } from './keys.ts';
import { readMeta } from './meta-row.ts';
import type { StateLog } from './state-log.ts';
import type { Row, StateStore } from './store.ts';

/** With the largest row behind it, a part fits into the smallest segment. */
const PART_BYTES = 32 << 10;
const COPIED: readonly Table[] = [
  Table.META,
  Table.TOPICS,
  Table.GROUPS,
  Table.QUEUES,
  Table.PROGRESS,
  Table.FLOORS,
  Table.RETRIES,
  Table.PRODUCERS,
  Table.SEGMENTS,
  Table.RELOCATED,
  Table.HELD_DONE,
  Table.TRANSACTIONS,
  Table.EPOCHS,
  Table.RESENT,
];

/** Writes a snapshot of the store into the log; resolves with the position it holds up to when it is durable. */
export async function writeSnapshot(
  stateLog: StateLog,
  store: StateStore,
  clock: Clock,
): Promise<number> {
  const view = store.view();
  try {
    const [meta] = view.range(META_KEY, tableEnd(Table.META));
    assert(meta !== undefined, 'the store was written before');
    const statePosition = BigInt(readMeta(meta.value).position);
    stateLog.change({
      case: 'snapshotBegun',
      value: { $typeName: 'ternmq.log.v1.SnapshotBegun', statePosition },
    });
    let rows: SnapshotRow[] = [];
    let bytes = 0;
    let count = 0n;
    const writePart = (): void => {
      stateLog.change({
        case: 'snapshotRows',
        value: { $typeName: 'ternmq.log.v1.SnapshotRows', statePosition, rows },
      });
      rows = [];
      bytes = 0;
    };
    for (const table of COPIED) {
      for (const { key, value } of view.range(tableStart(table), tableEnd(table))) {
        rows.push(create(SnapshotRowSchema, { key, value }));
        bytes += key.length + value.length;
        count++;
        if (bytes >= PART_BYTES) {
          writePart();
          await new Promise<void>((resolve) => clock.defer(resolve));
        }
      }
    }
    if (rows.length > 0) writePart();
    stateLog.change({
      case: 'snapshotEnded',
      value: { $typeName: 'ternmq.log.v1.SnapshotEnded', statePosition, rows: count },
    });
    await stateLog.log.keptAt(stateLog.log.next);
    return Number(statePosition);
  } finally {
    view.close();
  }
}

/** A snapshot read from the log. */
export interface Snapshot {
  /** The rows hold the effect of every record before this position. */
  readonly position: number;
  /** The rows of all tables but META. */
  readonly rows: Row[];
  /** The row of META. */
  readonly meta: Buffer;
}

/** Finds the newest complete snapshot in a log that the log can go on from. */
export function findSnapshot(
  segments: Segments,
  watermark: Pick<Watermark, 'position' | 'following'>,
  unsyncedBytesMax: number,
): Snapshot | undefined {
  let newest: Snapshot | undefined;
  let building: { position: bigint; rows: Row[] } | undefined;
  scanReadOnly(segments, watermark, unsyncedBytesMax, (tag, buffer, _view, at, length) => {
    if (tag !== RecordTag.STATE) return;
    const { change } = fromBinary(
      StateRecordSchema,
      buffer.subarray(at + RECORD_PREFIX_BYTES, at + length),
    );
    if (change.case === 'snapshotBegun') {
      building = { position: change.value.statePosition, rows: [] };
    } else if (change.case === 'snapshotRows') {
      if (change.value.statePosition !== building?.position) return;
      for (const { key, value } of change.value.rows) {
        // The record's bytes are only lent.
        building.rows.push({ key: Buffer.from(key), value: Buffer.from(value) });
      }
    } else if (change.case === 'snapshotEnded') {
      const complete =
        building !== undefined &&
        change.value.statePosition === building.position &&
        change.value.rows === BigInt(building.rows.length);
      if (complete && building !== undefined) {
        const meta = building.rows.find((row) => row.key.equals(META_KEY));
        // The log must have every record behind it.
        if (meta !== undefined && building.position >= segments.start) {
          newest = {
            position: Number(building.position),
            rows: building.rows.filter((row) => row !== meta),
            meta: meta.value,
          };
        }
      }
      building = undefined;
    }
  });
  return newest;
}
