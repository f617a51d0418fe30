// Collects a run of messages of one queue, as the bytes that lie in the log: contiguous records are taken
// together, from the tail cache if they are there and from the block cache otherwise. What must be read from
// the disk first ends the run.

import { type Logger, TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import type { Slab } from '../log/tail-cache.ts';
import { mark } from '../progress/marks.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { MESSAGE_AT, messageBytesOf } from '../state/message-record.ts';
import { tagHashOfMessage } from '../state/message-tag.ts';
import {
  CHUNK_ENTRIES,
  entryKeyHash,
  entryLength,
  entryPosition,
  entryTagHash,
  type Queue,
} from '../state/queue.ts';
import type { MessageFilter } from './message-filter.ts';

/** Most messages that one call looks at, so that a filter that matches little does not hold up the others. */
const LOOKED_AT_MAX = 4096;
/** The index does not say the hash of a tag. */
const UNKNOWN = -1;
/** Tries to get hold of one message: others may push it out of the cache before it is read. */
const LOADS_MAX = 4;

/** A stretch of the log. */
export interface Stretch {
  readonly position: number;
  readonly length: number;
}

/** What a collector has found; for the time until control returns to the event loop. */
export interface Collected {
  /** Offset behind the last message that was looked at. */
  end: number;
  /** Messages that match. */
  messages: number;
  /** Bytes of their records. */
  bytes: number;
  /** One bit a message from the first on, lowest first: 1 when it does not match. Undefined: all match. */
  unmatched: Uint8Array | undefined;
  /** The same for messages that the gate has passed over. Undefined: none. */
  held: Uint8Array | undefined;
  /** The gate has ended the run. */
  stopped: boolean;
  /** What must be read from the disk before the next message. */
  missing: Stretch | undefined;
  /** The next message is damaged, and the run ends before it. */
  damaged: TernError | undefined;
}

/** Says which messages may be handed out now, in the order of the queue. */
export interface LeaseGate {
  /**
   * Asked once of every message that matches: it is handed out, passed over for now, or the run ends before it.
   *
   * @param keyHash of its ordering key; 0 for none
   */
  admit(offset: number, keyHash: number): 'yes' | 'later' | 'stop';
}

/** Collects messages into a list of byte ranges. */
export class Collector {
  readonly #log: CommitLog;
  readonly #state: BrokerState;
  readonly #logger: Logger;
  /** Damaged messages wait, for another member of the broker group has them. */
  readonly keepsDamaged: boolean;

  constructor(modules: {
    log: CommitLog;
    state: BrokerState;
    logger: Logger;
    keepsDamaged?: boolean;
  }) {
    this.#log = modules.log;
    this.#state = modules.state;
    this.#logger = modules.logger;
    this.keepsDamaged = modules.keepsDamaged ?? false;
  }

  /**
   * Collects from an offset on, at least one message if there is one.
   *
   * @param parts gets the records' bytes; copy them before returning to the event loop
   * @param skipDamaged treat a damaged or lost message as one that does not match, and say so in the log file; not where
   *   damaged messages wait
   * @param gate every message may be handed out when absent
   */
  collect(
    queue: Queue,
    from: number,
    messagesMax: number,
    bytesMax: number,
    filter: MessageFilter,
    parts: Buffer[],
    skipDamaged: boolean,
    gate?: LeaseGate,
  ): Collected {
    const found: Collected = {
      end: from,
      messages: 0,
      bytes: 0,
      unmatched: undefined,
      held: undefined,
      stopped: false,
      missing: undefined,
      damaged: undefined,
    };
    const limit = Math.min(queue.visibleEnd, from + LOOKED_AT_MAX);
    const all = filter.matchesAll;
    const skips = skipDamaged && !this.keepsDamaged;
    const { compacted } = queue;
    // In a compacted queue, what is left below its begin has been appended again.
    const begin = compacted ? this.#state.beginOf(queue) : 0;
    let chunk = -1;
    let entries: Uint32Array | undefined;
    let slab: Slab | undefined;
    let cold = false;
    let runStart = 0;
    let runBytes = 0;
    let offset = from;
    const endRun = (): void => {
      if (runBytes > 0 && slab !== undefined) {
        const at = runStart - slab.start;
        parts.push(slab.buffer.subarray(at, at + runBytes));
      }
      runBytes = 0;
    };
    for (; offset < limit && found.messages < messagesMax; offset++) {
      const retained = compacted ? queue.relocated?.get(offset) : undefined;
      if (offset < begin && retained === undefined) {
        skip(found, offset - from);
        continue;
      }
      const number = Math.floor(offset / CHUNK_ENTRIES);
      if (retained === undefined && (number !== chunk || entries === undefined)) {
        entries = this.#state.chunk(queue, number);
        chunk = number;
      }
      const index = offset % CHUNK_ENTRIES;
      const length = retained?.length ?? entryLength(entries as Uint32Array, index);
      if (length === 0) {
        if (!skips) {
          found.damaged = lost(queue, offset);
          break;
        }
        this.#skipDamaged(queue, offset, found, from);
        continue;
      }
      const hash = retained === undefined ? entryTagHash(entries as Uint32Array, index) : UNKNOWN;
      if (!all && hash !== UNKNOWN && !filter.mayMatch(hash)) {
        skip(found, offset - from);
        continue;
      }
      if (found.messages > 0 && found.bytes + length > bytesMax) break;
      const position = retained?.position ?? entryPosition(entries as Uint32Array, index);
      try {
        if (slab === undefined || position < slab.start || position + length > slab.end) {
          endRun();
          slab = this.#log.read.tail(position, length)?.slab;
          cold = slab === undefined;
        }
        // What comes from the disk is checked record by record, what was never there need not be.
        if (cold) {
          const block = this.#log.read.block(position, length);
          if (block !== slab) endRun();
          slab = block;
        }
        const record = slab === undefined ? this.#log.read.find(position, length) : undefined;
        if (slab === undefined && record === undefined) {
          found.missing = { position, length };
          break;
        }
        const buffer = (record ?? slab?.buffer) as Buffer;
        const at = record === undefined ? position - (slab?.start ?? 0) : 0;
        if (!all && !this.#matches(buffer, at, hash, filter)) {
          skip(found, offset - from);
          continue;
        }
        if (gate !== undefined) {
          const key = retained?.label ?? entryKeyHash(entries as Uint32Array, index);
          const admitted = gate.admit(offset, key);
          if (admitted === 'later') {
            found.held = mark(found.held, offset - from);
            continue;
          }
          if (admitted === 'stop') {
            found.stopped = true;
            break;
          }
        }
        if (record !== undefined) parts.push(record);
        else {
          if (runBytes === 0 || runStart + runBytes !== position) {
            endRun();
            runStart = position;
          }
          runBytes += length;
        }
      } catch (error) {
        if (!(error instanceof TernError)) throw error;
        if (!skips) {
          found.damaged = error;
          break;
        }
        this.#skipDamaged(queue, offset, found, from);
        continue;
      }
      found.messages++;
      found.bytes += length;
    }
    endRun();
    filter.release();
    found.end = offset;
    return found;
  }

  /**
   * A copy of one message's record, read from the disk if need be; undefined when it cannot be got hold of, as when
   * retention takes it. Throws DATA_LOSS when it is damaged.
   */
  async copy(queue: Queue, offset: number): Promise<Buffer | undefined> {
    for (let loads = 0; loads < LOADS_MAX; loads++) {
      const record = this.record(queue, offset);
      if (Buffer.isBuffer(record)) return Buffer.from(record);
      await this.#log.read.load(record.position, record.length);
    }
    return undefined;
  }

  /** One message's record: its bytes, only lent, or what must be read first. Throws DATA_LOSS when it is damaged. */
  record(queue: Queue, offset: number): Buffer | Stretch {
    const { position, length } = this.#state.locate(queue, offset);
    if (length === 0) throw lost(queue, offset);
    return this.#log.read.find(position, length) ?? { position, length };
  }

  #skipDamaged(queue: Queue, offset: number, found: Collected, from: number): void {
    const { topicId, queueId } = queue;
    this.#logger.error({ topicId, queueId, offset }, 'a damaged message was not delivered');
    skip(found, offset - from);
  }

  #matches(buffer: Buffer, at: number, hash: number, filter: MessageFilter): boolean {
    const messageAt = at + MESSAGE_AT;
    const end = messageAt + messageBytesOf(viewOf(buffer), at + RECORD_HEADER_BYTES);
    const known = hash === UNKNOWN ? tagHashOfMessage(buffer, messageAt, end) : hash;
    return filter.matches(known, buffer, messageAt, end);
  }
}

function skip(found: Collected, index: number): void {
  found.unmatched = mark(found.unmatched, index);
}

function lost(queue: Queue, offset: number): TernError {
  return new TernError(
    'DATA_LOSS',
    'CORRUPT_RECORD',
    `message ${offset} of queue ${queue.queueId} is damaged; read on at offset ${offset + 1}`,
    { metadata: { offset: String(offset) } },
  );
}
