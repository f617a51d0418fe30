import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ManualClock, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskError, FaultyDisk } from '../../../../test/support/faulty-disk.ts';
import { seedFor } from '../../../../test/support/seed.ts';
import { StateDriver } from '../../../../test/support/state-driver.ts';
import { StateRig } from '../../../../test/support/state-rig.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { openLmdbStore } from './lmdb-store.ts';
import { openMemoryStore } from './memory-store.ts';

let temp: TempDir;
let folder: string;
let clock: ManualClock;

beforeEach(async () => {
  temp = await TempDir.create('open-state');
  folder = join(temp.path, 'data');
  clock = new ManualClock();
});

afterEach(async () => {
  await temp[Symbol.asyncDispose]();
});

const open = (): Promise<StateRig> => StateRig.open({ folder, clock, openStore: openLmdbStore });

describe('a state store that is lost or old', () => {
  const seed = seedFor('open state');

  test.each([0, 1, 2, 3])(
    'gives the same state from the log, after a random life of a broker (%i)',
    async (round) => {
      const random = seededRandom(seed + round);
      let rig = await open();
      const driver = new StateDriver(rig, random, clock);
      const copies: string[] = [];
      for (let i = 0; i < 1200; i++) {
        driver.step();
        if (random.integer(60) === 0) {
          await rig.writer.write();
          if (copies.length < 6 && rig.writer.position > 0) {
            const copy = join(temp.path, `state-${copies.length}`);
            cpSync(join(folder, 'state'), copy, { recursive: true });
            copies.push(copy);
          }
        }
        if (random.integer(20) === 0) await rig.log.durableAt(rig.log.next);
        if (random.integer(400) === 0) {
          await (random.integer(2) === 0 ? rig.close() : rig.crash());
          rig = await open();
          driver.rig = rig;
        }
      }
      await rig.log.durableAt(rig.log.next);
      const live = await rig.dump();
      expect(await driver.wrong()).toBeUndefined();
      await rig.close();

      const reopened = await open();
      expect(reopened.opened.rebuilt).toBe(false);
      expect(await reopened.dump()).toEqual(live);
      await reopened.close();

      for (const copy of copies) {
        rmSync(join(folder, 'state'), { recursive: true });
        cpSync(copy, join(folder, 'state'), { recursive: true });
        const older = await open();
        expect(older.opened.rebuilt).toBe(false);
        expect(await older.dump(), copy).toEqual(live);
        await older.close();
      }

      rmSync(join(folder, 'state'), { recursive: true });
      const rebuilt = await open();
      expect(rebuilt.opened.rebuilt).toBe(true);
      expect(await rebuilt.dump()).toEqual(live);
      driver.rig = rebuilt;
      expect(await driver.wrong()).toBeUndefined();
      await rebuilt.close();
    },
  );

  /** Two messages of a key in one millisecond, in two queues: which is newer must not depend on what was known before. */
  const SAME_MS = 1670191334;
  test.each([...[0, 1, 2, 3].map((round) => seed + 100 + round), SAME_MS])(
    'gives the same state also after retention has removed old segments (%i)',
    async (lifeSeed) => {
      const random = seededRandom(lifeSeed);
      let rig = await open();
      const driver = new StateDriver(rig, random, clock);
      let copy: string | undefined;
      for (let i = 0; i < 2500; i++) {
        driver.step();
        if (random.integer(50) === 0) await rig.writer.write();
        if (random.integer(100) === 0) {
          await rig.log.durableAt(rig.log.next);
          await rig.retention.run();
          expect(await driver.wrong()).toBeUndefined();
          await rig.writer.write();
          copy = join(temp.path, 'copy');
          rmSync(copy, { recursive: true, force: true });
          cpSync(join(folder, 'state'), copy, { recursive: true });
        }
        if (random.integer(500) === 0) {
          await (random.integer(2) === 0 ? rig.close() : rig.crash());
          if (random.integer(2) === 0) rmSync(join(folder, 'state'), { recursive: true });
          rig = await open();
          driver.rig = rig;
        }
      }
      await rig.log.durableAt(rig.log.next);
      expect(rig.log.start).toBeGreaterThan(0);
      const live = await rig.dump();
      expect(await driver.wrong()).toBeUndefined();
      await rig.close();

      for (const from of ['nothing', copy as string]) {
        rmSync(join(folder, 'state'), { recursive: true });
        if (from !== 'nothing') cpSync(from, join(folder, 'state'), { recursive: true });
        const again = await open();
        expect(again.opened.rebuilt).toBe(from === 'nothing');
        expect(await again.dump(), from).toEqual(live);
        driver.rig = again;
        expect(await driver.wrong()).toBeUndefined();
        await again.close();
      }
    },
  );
});

describe('damage', () => {
  /** A closed broker's folder with some hundred messages. */
  async function filled(): Promise<{ driver: StateDriver; live: Record<string, unknown> }> {
    const rig = await open();
    const driver = new StateDriver(rig, seededRandom(78), clock);
    for (let i = 0; i < 400; i++) driver.step();
    await rig.log.durableAt(rig.log.next);
    const live = await rig.dump();
    await rig.close();
    return { driver, live };
  }
  const stateFile = (): string => join(folder, 'state', 'data.mdb');

  test('a state store that is empty is built anew', async () => {
    const { live } = await filled();
    writeFileSync(stateFile(), Buffer.alloc(0));
    const rig = await open();
    expect(rig.opened.rebuilt).toBe(true);
    expect(await rig.dump()).toEqual(live);
    await rig.close();
  });

  // LMDB reads its file through memory: a damaged one ends the process by SIGSEGV or SIGBUS.
  test.each([
    ['overwritten', (bytes: Buffer) => bytes.fill(0x5a)],
    ['cut in half', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
  ] as const)(
    'a state store that was %s and ended two processes is built anew',
    async (_how, damage) => {
      const { live } = await filled();
      writeFileSync(stateFile(), damage(readFileSync(stateFile())));
      writeFileSync(join(folder, 'opening'), '2\n');
      const rig = await open();
      expect(rig.opened.rebuilt).toBe(true);
      expect(await rig.dump()).toEqual(live);
      await rig.close();
      const again = await open();
      expect(again.opened.rebuilt).toBe(false);
      await again.close();
    },
  );

  test('a row of the state store that makes no sense has the store built anew', async () => {
    const { live } = await filled();
    const store = openLmdbStore(join(folder, 'state'));
    const [floor] = store.range(Buffer.from([5]), Buffer.from([6]));
    store.commitSync({
      puts: [{ key: floor?.key as Buffer, value: Buffer.from('nonsense') }],
      removes: [],
    });
    await store.close();
    const rig = await open();
    expect(rig.opened.rebuilt).toBe(true);
    expect(await rig.dump()).toEqual(live);
    await rig.close();
  });

  test('a chunk of the index that the state store lost has the store built anew', async () => {
    const { driver, live } = await filled();
    // The queue goes on behind what the store holds, so that the lost chunk is needed.
    const store = openLmdbStore(join(folder, 'state'));
    const removes = [...store.range(Buffer.from([0x10]), Buffer.from([0x11]))].map(
      ({ key }) => key,
    );
    const copy = join(temp.path, 'copy');
    await store.close();
    cpSync(join(folder, 'state'), copy, { recursive: true });
    let rig = await open();
    driver.rig = rig;
    for (let i = 0; i < 100; i++) driver.step();
    await rig.log.durableAt(rig.log.next);
    const later = await rig.dump();
    expect(later).not.toEqual(live);
    await rig.close();
    rmSync(join(folder, 'state'), { recursive: true });
    cpSync(copy, join(folder, 'state'), { recursive: true });
    const damaged = openLmdbStore(join(folder, 'state'));
    damaged.commitSync({ puts: [], removes });
    await damaged.close();
    rig = await open();
    expect(rig.opened.rebuilt).toBe(true);
    expect(await rig.dump()).toEqual(later);
    await rig.close();
  });

  test('a log that cannot be read leaves the state store alone', async () => {
    await filled();
    const before = readFileSync(stateFile());
    const disk = new FaultyDisk();
    disk.faults = (operation, path) =>
      operation === 'read' && path.includes('/log/') ? diskError('EIO') : undefined;
    const opening = StateRig.open({ folder, clock, openStore: openLmdbStore, disk });
    await expect(opening).rejects.toMatchObject({ code: 'EIO' });
    expect(readFileSync(stateFile()).equals(before)).toBe(true);
    const rig = await open();
    expect(rig.opened.rebuilt).toBe(false);
    await rig.close();
  });

  test('a log folder that is gone is told, and nothing is begun anew', async () => {
    await filled();
    rmSync(join(folder, 'log'), { recursive: true });
    const before = readFileSync(stateFile());
    await expect(open()).rejects.toMatchObject({ code: 'DATA_LOSS', reason: 'LOG_LOST' });
    expect(readFileSync(stateFile()).equals(before)).toBe(true);
  });

  test('a state store that is lost while the log has no snapshot and no beginning is told', async () => {
    await filled();
    rmSync(join(folder, 'state'), { recursive: true });
    const [first] = readdirSync(join(folder, 'log')) as [string];
    rmSync(join(folder, 'log', first));
    await expect(open()).rejects.toMatchObject({ code: 'DATA_LOSS', reason: 'STATE_LOST' });
  });

  test('damaged messages keep their offsets, are told as lost, and cost nothing else', async () => {
    const { driver } = await filled();
    const random = seededRandom(seedFor('damaged messages'));
    let rig = await open();
    const queues = [...rig.state.topics.all()].flatMap(({ queues }) => queues);
    const lost = new Map<string, { topicId: number; queueId: number; offset: number }>();
    for (const { topicId, queueId, begin, next } of queues) {
      // The newest message stays: what was behind the last one that can be read, nobody knows.
      for (let offset = begin; offset < next - 1; offset++) {
        if (random.integer(5) === 0)
          lost.set(`${topicId}/${queueId}/${offset}`, { topicId, queueId, offset });
      }
    }
    expect(lost.size).toBeGreaterThan(20);
    const places = [...lost.values()].map(({ topicId, queueId, offset }) => {
      const queue = rig.state.topics.findById(topicId)?.queues[queueId];
      return rig.state.locate(queue as NonNullable<typeof queue>, offset);
    });
    const segments = [...rig.log.segments];
    await rig.close();
    for (const { position, length } of places) {
      const segment = segments.findLast(({ start }) => start <= position) as { start: number };
      const path = join(folder, 'log', String(segment.start).padStart(20, '0'));
      const bytes = readFileSync(path);
      const at = position - segment.start + random.integer(length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.integer(8));
      writeFileSync(path, bytes);
    }

    // As the store knows where they are, and as the log is read anew.
    for (const anew of [false, true]) {
      if (anew) rmSync(join(folder, 'state'), { recursive: true });
      rig = await open();
      driver.rig = rig;
      expect(rig.opened.recovery.corrupt.length > 0).toBe(anew);
      let found = 0;
      for (const topic of rig.state.topics.all()) {
        for (const queue of topic.queues) {
          for (let offset = queue.begin; offset < queue.next; offset++) {
            const name = `${topic.id}/${queue.queueId}/${offset}`;
            if (!lost.has(name)) {
              expect(await rig.read(queue, offset), name).toBeDefined();
              continue;
            }
            found++;
            if (anew) expect(rig.state.locate(queue, offset).length, name).toBe(0);
            else {
              await expect(rig.read(queue, offset), name).rejects.toMatchObject({
                code: 'DATA_LOSS',
                reason: 'CORRUPT_RECORD',
              });
            }
          }
        }
      }
      expect(found).toBe(lost.size);
      await rig.close();
    }
  });

  test('the memory store gives the same state as LMDB', async () => {
    const { live } = await filled();
    rmSync(join(folder, 'state'), { recursive: true });
    const rig = await StateRig.open({ folder, clock, openStore: () => openMemoryStore() });
    expect(await rig.dump()).toEqual(live);
    await rig.close();
  });
});
