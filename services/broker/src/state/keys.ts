// The tables of the derived state, and the keys of their rows. A key is the table's number and then
// big-endian integers, so that rows lie in the order of what they describe.
//
//   table            key                                    value
//   META       0x00  -                                      position and epoch the rows hold up to, next ids
//   TOPICS     0x01  topic id 4                             ternmq.broker.v1.Topic
//   GROUPS     0x02  group id 4                             ternmq.broker.v1.Group
//   QUEUES     0x03  topic id 4, queue id 2                 begin, next, last store time; see queue.ts
//   PROGRESS   0x04  progress id 4                          ternmq.log.v1.ProgressStarted without offsets
//   FLOORS     0x05  progress id 4, queue id 2              queue-progress.ts
//   RETRIES    0x06  progress id 4, queue id 2, offset 6    queue-progress.ts
//   PRODUCERS  0x07  topic id 4, queue id 2, producer 7     producer-sequence.ts
//   SEGMENTS   0x08  start 7                                time of the newest record in the segment, 8 bytes
//   DOOMED     0x09  topic id 4                             empty: the index of a deleted topic is being removed
//   RELOCATED  0x0a  topic id 4, queue id 2, offset 6       position, length and label, three doubles
//   HELD_DONE  0x0b  chunk 5                                held-table.ts
//   TRANSACTIONS 0x0c  offset 6                             transaction-table.ts
//   EPOCHS     0x0e  epoch 4                                where it starts in the log, and its nonce, two doubles
//   RESENT     0x0f  topic id 4, queue id 2, chunk 5        resent-table.ts
//   LATEST     0x0d  topic id 4, digest of a key 16         latest-table.ts
//   INDEX      0x10  topic id 4, queue id 2, chunk 5        entries of 16 bytes; see queue.ts
//   KEYS       0x11  topic id 4, queue id 2, chunk 5        key-chunks.ts
//
// All but INDEX, KEYS, LATEST, DOOMED and META are small, and are what a snapshot in the log carries.

/** The tables by number. */
export const Table = {
  META: 0x00,
  TOPICS: 0x01,
  GROUPS: 0x02,
  QUEUES: 0x03,
  PROGRESS: 0x04,
  FLOORS: 0x05,
  RETRIES: 0x06,
  PRODUCERS: 0x07,
  SEGMENTS: 0x08,
  DOOMED: 0x09,
  RELOCATED: 0x0a,
  HELD_DONE: 0x0b,
  TRANSACTIONS: 0x0c,
  EPOCHS: 0x0e,
  RESENT: 0x0f,
  LATEST: 0x0d,
  INDEX: 0x10,
  KEYS: 0x11,
} as const;
export type Table = (typeof Table)[keyof typeof Table];

/** The only row of META. */
export const META_KEY: Buffer = Buffer.from([Table.META]);

/** First key of a table. */
export function tableStart(table: Table): Buffer {
  return Buffer.from([table]);
}

/** Behind the last key of a table. */
export function tableEnd(table: Table): Buffer {
  return Buffer.from([table + 1]);
}

/** Key of a row that a topic, group or progress number names. */
export function idKey(table: Table, id: number): Buffer {
  const key = Buffer.allocUnsafe(5);
  key[0] = table;
  key.writeUInt32BE(id, 1);
  return key;
}

/** The id in such a key. */
export function idOf(key: Buffer): number {
  return key.readUInt32BE(1);
}

/** Key of a row of QUEUES or FLOORS. */
export function queueKey(table: Table, id: number, queueId: number): Buffer {
  const key = Buffer.allocUnsafe(7);
  key[0] = table;
  key.writeUInt32BE(id, 1);
  key.writeUInt16BE(queueId, 5);
  return key;
}

/** The queue id in a key that has one. */
export function queueIdIn(key: Buffer): number {
  return key.readUInt16BE(5);
}

/** Key of a row of RETRIES. */
export function retryKey(progressId: number, queueId: number, offset: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = Table.RETRIES;
  key.writeUInt32BE(progressId, 1);
  key.writeUInt16BE(queueId, 5);
  key.writeUIntBE(offset, 7, 6);
  return key;
}

/** Key of a row of RELOCATED. */
export function relocatedKey(topicId: number, queueId: number, offset: number): Buffer {
  const key = retryKey(topicId, queueId, offset);
  key[0] = Table.RELOCATED;
  return key;
}

/** The offset in a key of RETRIES or RELOCATED. */
export function offsetIn(key: Buffer): number {
  return key.readUIntBE(7, 6);
}

/** Key of a row of PRODUCERS. */
export function producerKey(topicId: number, queueId: number, producerId: number): Buffer {
  const key = Buffer.allocUnsafe(14);
  key[0] = Table.PRODUCERS;
  key.writeUInt32BE(topicId, 1);
  key.writeUInt16BE(queueId, 5);
  // Seven bytes: 53 bits.
  key.writeUIntBE(Math.floor(producerId / 2 ** 32), 7, 3);
  key.writeUInt32BE(producerId % 2 ** 32, 10);
  return key;
}

/** The producer id in such a key. */
export function producerIn(key: Buffer): number {
  return key.readUIntBE(7, 3) * 2 ** 32 + key.readUInt32BE(10);
}

/** Key of a row of SEGMENTS. */
export function segmentKey(start: number): Buffer {
  const key = Buffer.allocUnsafe(8);
  key[0] = Table.SEGMENTS;
  key.writeUIntBE(Math.floor(start / 2 ** 32), 1, 3);
  key.writeUInt32BE(start % 2 ** 32, 4);
  return key;
}

/** The start in such a key. */
export function segmentStartIn(key: Buffer): number {
  return key.readUIntBE(1, 3) * 2 ** 32 + key.readUInt32BE(4);
}

/** Number of the row of HELD_DONE that is of no chunk. */
export const FINISHED_CHUNKS: number = 2 ** 40 - 1;

/** Key of a row of HELD_DONE. */
export function heldDoneKey(chunk: number): Buffer {
  const key = Buffer.allocUnsafe(6);
  key[0] = Table.HELD_DONE;
  key.writeUIntBE(chunk, 1, 5);
  return key;
}

/** The chunk in such a key. */
export function heldChunkIn(key: Buffer): number {
  return key.readUIntBE(1, 5);
}

/** Key of a row of TRANSACTIONS. */
export function transactionKey(offset: number): Buffer {
  const key = Buffer.allocUnsafe(7);
  key[0] = Table.TRANSACTIONS;
  key.writeUIntBE(offset, 1, 6);
  return key;
}

/** Key of a row of RESENT. */
export function resentKey(topicId: number, queueId: number, chunk: number): Buffer {
  const key = chunkKey(topicId, queueId, chunk);
  key[0] = Table.RESENT;
  return key;
}

/** The chunk in such a key. */
export function resentChunkIn(key: Buffer): number {
  return key.readUIntBE(7, 5);
}

/** Key of a row of LATEST. */
export function latestKey(topicId: number, digest: Buffer): Buffer {
  const key = Buffer.allocUnsafe(5 + digest.length);
  key[0] = Table.LATEST;
  key.writeUInt32BE(topicId, 1);
  key.set(digest, 5);
  return key;
}

/** Key of a row of INDEX or KEYS. */
export function chunkKey(
  topicId: number,
  queueId: number,
  chunk: number,
  table: Table = Table.INDEX,
): Buffer {
  const key = Buffer.allocUnsafe(12);
  key[0] = table;
  key.writeUInt32BE(topicId, 1);
  key.writeUInt16BE(queueId, 5);
  key.writeUIntBE(chunk, 7, 5);
  return key;
}
