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
import { RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES, RecordTag, readUint64 } from '../log/record.ts';
import type { RecordVisitor } from '../log/scan.ts';
import { type Segment, Segments } from '../log/segments.ts';
import { readWatermark, type Watermark } from '../log/watermark-file.ts';
import { applyMessage } from './apply-message.ts';
import { BrokerState } from './broker-state.ts';
import { IndexRebuild } from './index-rebuild.ts';
import { loadState } from './load-state.ts';
import { storeTimeOf } from './message-record.ts';
import { decodeMeta, type StateMeta } from './meta-row.ts';
import { OpeningMark } from './opening-mark.ts';
import { findSnapshot } from './snapshot.ts';
import type { StateStore } from './store.ts';

const SPILL_EVERY_BYTES = 64 << 20;
/** A change of state begins with field 4, fixed64: its time. */
const STATE_TIME_AT = 1;

/** What the store holds does not go together with the log. */
class StoreDamaged extends Error {}

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

/** What opening needs. */
interface Modules {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly openStore: (folder: string) => StateStore;
}

/**
 * Opens log and state in a data folder that this process has locked. Throws DATA_LOSS (LOG_LOST, STATE_LOST), and the
 * disk's errors.
 */
export async function openState(options: LogOptions, modules: Modules): Promise<OpenedState> {
  const mark = new OpeningMark(options.folder, modules.disk);
  try {
    return await open(options, modules, mark.hopeless);
  } finally {
    mark.remove();
  }
}

async function open(
  options: LogOptions,
  modules: Modules,
  storeHopeless: boolean,
): Promise<OpenedState> {
  const { disk, logger, openStore } = modules;
  const folder = join(options.folder, 'state');
  const segments = new Segments(
    { folder: join(options.folder, 'log'), segmentBytes: options.segmentBytes, readOnly: true },
    disk,
  );
  const logStart = segments.start;
  const logEnd = segments.all.at(-1)?.end ?? 0;
  const watermark = readWatermark(join(options.folder, 'watermark'), disk);
  if (watermark.position > 0 && segments.all.length === 0) {
    throw new TernError(
      'DATA_LOSS',
      'LOG_LOST',
      `${segments.folder} is lost, and the broker had ${watermark.position} bytes there; restore it, or remove all of ${options.folder} to begin anew`,
    );
  }
  disk.makeFolder(folder);
  if (storeHopeless) {
    logger.error('reading the state store ended the broker; building it anew from the log');
    disk.remove(folder);
    disk.makeFolder(folder);
  }
  const loaded = load(openStore, folder, logger);
  if (loaded?.meta !== undefined) {
    const { store, state, meta } = loaded;
    if (meta.position >= logStart && meta.position <= logEnd) {
      const apply = applyTo(state, segments);
      const visit: RecordVisitor = (...record) => {
        try {
          apply(...record);
        } catch (cause) {
          throw new StoreDamaged('a record cannot be applied to the state store', { cause });
        }
      };
      try {
        state.restoreHeld();
        // What a follower has beyond the store may not be confirmed: the master says when it is to be seen.
        if (options.following) showAll(state);
        const { log, recovery } = await CommitLog.open(options, modules, meta, visit);
        segments.close();
        if (!options.following) showAll(state);
        return { log, state, store, storePosition: meta.position, recovery, rebuilt: false };
      } catch (error) {
        if (!(error instanceof StoreDamaged)) {
          await store.close();
          throw error;
        }
        tellUnreadable(logger, error);
      }
    } else {
      logger.warn(
        { statePosition: meta.position, logStart, logEnd },
        'the state store does not fit the log; building it anew',
      );
    }
  }
  await loaded?.store.close();
  disk.remove(folder);
  disk.makeFolder(folder);
  return buildAnew(options, modules, segments, openStore(folder), watermark);
}

/** What the store says; undefined when it cannot be read. */
function load(
  openStore: (folder: string) => StateStore,
  folder: string,
  logger: Logger,
): { store: StateStore; state: BrokerState; meta: StateMeta | undefined } | undefined {
  let store: StateStore | undefined;
  try {
    store = openStore(folder);
    const state = new BrokerState(store);
    return { store, state, meta: loadState(state, store) };
  } catch (error) {
    tellUnreadable(logger, error);
    void store?.close().catch(() => {});
    return undefined;
  }
}

function tellUnreadable(logger: Logger, error: unknown): void {
  logger.error({ error }, 'the state store cannot be read; building it anew from the log');
}

async function buildAnew(
  options: LogOptions,
  modules: { disk: Disk; clock: Clock; logger: Logger },
  segments: Segments,
  store: StateStore,
  watermark: Watermark,
): Promise<OpenedState> {
  const { logger } = modules;
  const { unsyncedBytesMax } = options;
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
  const apply = applyTo(state, segments);
  const note = timesOf(state, segments);
  const visit: RecordVisitor = (tag, buffer, view, at, length, position) => {
    if (indexing && position >= cut) {
      indexing = false;
      rebuild.end(cut);
      state.restoreHeld();
    }
    if (!indexing) apply(tag, buffer, view, at, length, position);
    else {
      note(tag, buffer, view, at, length, position);
      if (tag === RecordTag.MESSAGE) rebuild.add(buffer, view, at, length, position);
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
  if (indexing) {
    rebuild.end(cut);
    state.restoreHeld();
  }
  if (!options.following) showAll(state);
  if (recovery.end > 0) {
    logger.info(
      { from: logStart, end: recovery.end, snapshot: cut },
      'built the state from the log',
    );
  }
  return { log, state, store, storePosition: 0, recovery, rebuilt: true };
}

/** Applies records in the order of the log. */
export function applyTo(state: BrokerState, segments: Pick<Segments, 'find'>): RecordVisitor {
  const note = timesOf(state, segments);
  return (tag, buffer, view, at, length, position) => {
    note(tag, buffer, view, at, length, position);
    if (tag === RecordTag.MESSAGE) applyMessage(state, buffer, view, at, length, position);
    else if (tag === RecordTag.STATE) {
      const bytes = buffer.subarray(at + RECORD_PREFIX_BYTES, at + length);
      state.applyChange(fromBinary(StateRecordSchema, bytes), position);
    }
  };
}

/** Notes the time of the newest record in each segment. */
function timesOf(state: BrokerState, segments: Pick<Segments, 'find'>): RecordVisitor {
  let segment: Segment | undefined;
  return (tag, _buffer, view, at, _length, position) => {
    if (segment === undefined || position >= segment.end) segment = segments.find(position);
    const body = at + RECORD_HEADER_BYTES;
    const timeMs =
      tag === RecordTag.MESSAGE ? storeTimeOf(view, body) : readUint64(view, body + STATE_TIME_AT);
    if (segment !== undefined) state.segmentTimes.note(segment.start, timeMs);
  };
}

/** Everything that is applied is durable after it was opened, and may be seen. */
export function showAll(state: BrokerState): void {
  for (const topic of state.topics.all()) {
    for (const queue of topic.queues) queue.visibleEnd = queue.next;
  }
}
