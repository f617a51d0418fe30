import { ManualClock, type Random } from '@ternmq/runtime';
import { CommitLog } from '../../services/broker/src/log/commit-log.ts';
import { LOG_DEFAULTS, type LogRecovery } from '../../services/broker/src/log/log-options.ts';
import { RECORD_HEADER_BYTES, RecordTag } from '../../services/broker/src/log/record.ts';
import { scanLog } from '../../services/broker/src/log/scan.ts';
import { Segments } from '../../services/broker/src/log/segments.ts';
import { MemoryDisk } from './memory-disk.ts';

const SEGMENT_BYTES = 256 << 10;
/** Bytes of the tail that tests damage. */
export const TAIL_BYTES: number = 64 << 10;

/** A record as a scan found it, or as it was appended. */
export interface LogEntry {
  readonly position: number;
  readonly length: number;
  readonly digest: string;
}

function digestOf(bytes: Buffer): string {
  return bytes.toString('latin1');
}

/** Opens the log on a disk; what it found, and the log, which stays open. */
export async function openLog(
  disk: MemoryDisk,
): Promise<{ log: CommitLog; recovery: LogRecovery; entries: LogEntry[] }> {
  const entries: LogEntry[] = [];
  const { log, recovery } = await CommitLog.open(
    // Nothing is synced unless a test asks for it.
    { ...LOG_DEFAULTS, folder: '/data', segmentBytes: SEGMENT_BYTES, flushMode: 'async', slabs: 1 },
    { disk, clock: new ManualClock() },
    undefined,
    (_tag, buffer, _view, at, length, position) => {
      const digest = digestOf(buffer.subarray(at + RECORD_HEADER_BYTES, at + length));
      entries.push({ position, length, digest });
    },
  );
  return { log, recovery, entries };
}

/** Appends a record of random bytes and has it written. */
export function appendTo(log: CommitLog, random: Random, length: number): LogEntry {
  const body = random.bytes(length - RECORD_HEADER_BYTES);
  const tag = random.integer(4) === 0 ? RecordTag.STATE : RecordTag.MESSAGE;
  const position = log.append(tag, body);
  log.flush();
  return { position, length, digest: digestOf(body) };
}

/** A log whose last 64 KiB and more lie in one segment and were never durable. */
export interface TornLog {
  readonly disk: MemoryDisk;
  /** All records, durable or not. */
  readonly entries: readonly LogEntry[];
  /** Everything before it is durable, and known to be. */
  readonly durable: number;
  readonly end: number;
  /** File that the tail is in, and the log position of its first byte. */
  readonly path: string;
  readonly start: number;
  /** What another use of such a file may have left: a whole segment of valid records of another place. */
  readonly recycled: Buffer;
  /** As many random bytes. */
  readonly noise: Buffer;
}

/** Makes such a log. */
export async function makeTornLog(random: Random): Promise<TornLog> {
  const disk = new MemoryDisk();
  const { log } = await openLog(disk);
  const entries: LogEntry[] = [];
  const lengthOf = (): number => 60 + random.integer(random.integer(20) === 0 ? 9000 : 900);
  while (log.next < 2 * SEGMENT_BYTES + 20_000) {
    entries.push(appendTo(log, random, lengthOf()));
    if (random.integer(6) === 0) await log.durableAt(log.next);
  }
  await log.durableAt(log.next);
  const { durable } = log;
  while (log.next < durable + TAIL_BYTES + 2000) entries.push(appendTo(log, random, lengthOf()));
  const { start } = log.segmentAt(log.next) ?? { start: 0 };
  const pathOf = (position: number): string => `/data/log/${String(position).padStart(20, '0')}`;
  const torn: TornLog = {
    disk: disk.copy(),
    entries,
    durable,
    end: log.next,
    path: pathOf(start),
    start,
    recycled: Buffer.from(disk.bytes(pathOf(SEGMENT_BYTES))),
    noise: random.bytes(SEGMENT_BYTES),
  };
  await log.close();
  return torn;
}

/** What may lie behind the place where a write was torn off. */
export const DAMAGES = ['cut', 'zeros', 'ones', 'random', 'recycled'] as const;
export type Damage = (typeof DAMAGES)[number];

/** A disk with the log, a copy if none is given, on which everything from a position on is damaged; with the first byte that differs. */
export function damaged(
  torn: TornLog,
  position: number,
  damage: Damage,
  disk: MemoryDisk = torn.disk.copy(),
): { disk: MemoryDisk; firstChanged: number } {
  const before = torn.disk.bytes(torn.path);
  const at = position - torn.start;
  const file = disk.bytes(torn.path);
  if (damage === 'cut') disk.put(torn.path, file.subarray(0, at));
  else if (damage === 'random') torn.noise.copy(file, at, at);
  else if (damage === 'recycled') torn.recycled.copy(file, at, at);
  else file.fill(damage === 'zeros' ? 0 : 0xff, at);
  let changed = at;
  if (damage !== 'cut')
    while (changed < file.length && file[changed] === before[changed]) changed++;
  return { disk, firstChanged: torn.start + changed };
}

/** As `wrongWith`, but only reads the tail, without opening the log: for many positions. */
export function wrongInScan(torn: TornLog, position: number, damage: Damage): string | undefined {
  const copy = torn.disk.copyOf(torn.path);
  const { disk, firstChanged } = damaged(torn, position, damage, copy);
  const segments = new Segments(
    { folder: '/data/log', segmentBytes: SEGMENT_BYTES, readOnly: true },
    disk,
  );
  const { durable } = torn;
  const tail = torn.entries.filter((one) => one.position >= durable);
  const whole = tail.filter((one) => one.position + one.length <= firstChanged);
  let found = 0;
  let wrong: string | undefined;
  const options = {
    from: durable,
    epoch: 1,
    durable,
    unsyncedBytesMax: LOG_DEFAULTS.unsyncedBytesMax,
    following: false,
  };
  const { corrupt, end } = scanLog(segments, options, (...record) => {
    const expected = whole[found++];
    if (record[5] !== expected?.position || record[4] !== expected.length) {
      wrong ??= `a record at ${record[5]}`;
    }
  });
  if (found !== whole.length) return `${found} records instead of ${whole.length}`;
  if (corrupt.length > 0) return 'a torn tail was taken for corruption';
  const last = whole.at(-1);
  const mark = tail[0]?.position ?? durable;
  const expectedEnd =
    last === undefined ? (firstChanged < mark ? durable : mark) : last.position + last.length;
  if (end !== expectedEnd) return `the log ends at ${end} instead of ${expectedEnd}`;
  return wrong;
}

/** What is wrong with how a damaged log opens, twice; undefined when nothing is. */
export async function wrongWith(
  torn: TornLog,
  position: number,
  damage: Damage,
): Promise<string | undefined> {
  const { disk, firstChanged } = damaged(torn, position, damage);
  const whole = torn.entries.filter((one) => one.position + one.length <= firstChanged);
  const first = await openLog(disk);
  const image = disk.copy();
  const { next } = first.log;
  await first.log.close();
  if (!same(first.entries, whole)) {
    return `${first.entries.length} records instead of ${whole.length}`;
  }
  if (first.recovery.corrupt.length > 0) return 'a torn tail was taken for corruption';
  if (next < torn.durable) return 'something durable was dropped';
  const second = await openLog(disk);
  await second.log.close();
  if (!same(second.entries, whole) || second.recovery.end !== first.recovery.end) {
    return 'the second start found something else';
  }
  if (!disk.bytes(torn.path).equals(image.bytes(torn.path))) return 'starting changed the log';
  return undefined;
}

function same(found: readonly LogEntry[], expected: readonly LogEntry[]): boolean {
  return (
    found.length === expected.length &&
    found.every((one, i) => {
      const other = expected[i] as LogEntry;
      return (
        one.position === other.position &&
        one.length === other.length &&
        one.digest === other.digest
      );
    })
  );
}
