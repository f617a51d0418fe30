// Opens a broker's log and state together.
//
//   store holds up to a position inside the log:  replay the log from there
//   store is missing, damaged, or older than the log's oldest byte:  build it anew, from the newest snapshot
//   in the log, or from nothing when the log still has its first byte

import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { StateRecordSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { type Clock, type Disk, type Logger, TernError } from '@ternmq/runtime';
import { CommitLog } from '../log/commit-log.ts';
import type { LogOptions, LogRecovery } from '../log/log-options.ts';
import { RECORD_PREFIX_BYTES, RecordTag } from '../log/record.ts';
import type { RecordVisitor } from '../log/scan.ts';
import { Segments } from '../log/segments.ts';
import { readWatermark } from '../log/watermark-file.ts';
import { BrokerState } from './broker-state.ts';
import { IndexRebuild } from './index-rebuild.ts';
import { loadState } from './load-state.ts';
import { decodeMeta } from './meta-row.ts';
import { findSnapshot } from './snapshot.ts';
import type { StateStore } from './store.ts';

const SPILL_EVERY_BYTES = 64 << 20;

/** A log and the state that follows from it. */
export interface OpenedState {
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly store: StateStore;
  /** Position that the store holds up to. */
  readonly storePosition: number;
  readonly recovery: LogRecovery;
  /** The store was built anew. */
  readonly rebuilt: boolean;
}

/** Opens log and state in a data folder that this process has locked. */
export async function openState(
  options: LogOptions,
  modules: {
    disk: Disk;
    clock: Clock;
    logger: Logger;
    openStore: (folder: string) => StateStore;
  },
): Promise<OpenedState> {
  const { disk, logger, openStore } = modules;
  const folder = join(options.folder, 'state');
  const segments = new Segments(
    { folder: join(options.folder, 'log'), segmentBytes: options.segmentBytes, readOnly: true },
    disk,
  );
  const logStart = segments.start;
  const logEnd = segments.all.at(-1)?.end ?? 0;
  disk.makeFolder(folder);
  let store: StateStore | undefined;
  let state: BrokerState | undefined;
  try {
    store = openStore(folder);
    state = new BrokerState(store);
    const meta = loadState(state, store);
    const fits = meta !== undefined && meta.position >= logStart && meta.position <= logEnd;
    if (meta !== undefined && fits) {
      const { log, recovery } = await CommitLog.open(options, modules, meta, applyTo(state));
      segments.close();
      showAll(state);
      return { log, state, store, storePosition: meta.position, recovery, rebuilt: false };
    }
    if (meta !== undefined) {
      logger.warn(
        { statePosition: meta.position, logStart, logEnd },
        'the state store does not fit the log; building it anew',
      );
    }
    await store.close();
  } catch (error) {
    if (error instanceof TernError) throw error;
    logger.error({ error }, 'the state store cannot be read; building it anew from the log');
    await store?.close().catch(() => {});
  }
  disk.remove(folder);
  disk.makeFolder(folder);
  store = openStore(folder);
  return buildAnew(options, modules, segments, store);
}

async function buildAnew(
  options: LogOptions,
  modules: { disk: Disk; clock: Clock; logger: Logger },
  segments: Segments,
  store: StateStore,
): Promise<OpenedState> {
  const { disk, logger } = modules;
  const { unsyncedBytesMax } = options;
  const watermark = readWatermark(join(options.folder, 'watermark'), disk).position;
  const logStart = segments.start;
  const snapshot = logStart === 0 ? undefined : findSnapshot(segments, watermark, unsyncedBytesMax);
  if (logStart > 0 && snapshot === undefined) {
    throw new TernError(
      'DATA_LOSS',
      'STATE_LOST',
      `${join(options.folder, 'state')} is lost, the log begins at ${logStart} and has no snapshot; restore the data folder from a replica or a backup`,
    );
  }
  if (snapshot !== undefined) store.commitSync({ puts: snapshot.rows, removes: [] });
  const state = new BrokerState(store);
  loadState(state, store);
  if (snapshot !== undefined) decodeMeta(state, snapshot.meta);
  const cut = snapshot?.position ?? 0;
  const rebuild = new IndexRebuild(state);
  let indexing = cut > 0;
  let spillAt = logStart + SPILL_EVERY_BYTES;
  const apply = applyTo(state);
  const visit: RecordVisitor = (tag, buffer, view, at, length, position) => {
    if (indexing && position >= cut) {
      indexing = false;
      rebuild.end(cut);
    }
    if (!indexing) apply(tag, buffer, view, at, length, position);
    else if (tag === RecordTag.MESSAGE) {
      rebuild.add(buffer, view, at, length, position);
    }
    if (position >= spillAt) {
      spillAt = position + SPILL_EVERY_BYTES;
      const batch = state.spillChunks();
      store.commitSync(batch);
      batch.committed();
    }
  };
  const from = { position: logStart, epoch: 0 };
  const { log, recovery } = await CommitLog.open(options, modules, from, visit);
  segments.close();
  if (indexing) rebuild.end(cut);
  showAll(state);
  if (recovery.end > 0) {
    logger.info(
      { from: logStart, end: recovery.end, snapshot: cut },
      'built the state from the log',
    );
  }
  return { log, state, store, storePosition: 0, recovery, rebuilt: true };
}

function applyTo(state: BrokerState): RecordVisitor {
  return (tag, buffer, view, at, length, position) => {
    if (tag === RecordTag.MESSAGE) state.applyMessage(buffer, view, at, length, position);
    else if (tag === RecordTag.STATE) {
      const bytes = buffer.subarray(at + RECORD_PREFIX_BYTES, at + length);
      state.applyChange(fromBinary(StateRecordSchema, bytes), position);
    }
  };
}

/** Everything that the log has is durable after it was opened, and may be seen. */
function showAll(state: BrokerState): void {
  for (const topic of state.topics.all()) {
    for (const queue of topic.queues) queue.visibleEnd = queue.next;
  }
}
