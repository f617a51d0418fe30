import { create, toBinary } from '@bufbuild/protobuf';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KEYS_MAX, KeyChunks, keyEntries, lastWithKey } from './key-chunks.ts';
import { fnv1a } from './message-tag.ts';
import { CHUNK_ENTRIES } from './queue.ts';

const hashOf = (key: string): number => fnv1a(Buffer.from(key), 0, Buffer.byteLength(key));
const NAMES = ['a', 'b', 'order-7'];

test('a row has the keys of every message, whatever is committed and forgotten between', () => {
  const step = fc.record({
    gap: fc.integer({ min: 0, max: 90 }),
    keys: fc.array(fc.constantFrom(...NAMES), { maxLength: 3 }),
    after: fc.constantFrom('nothing', 'nothing', 'commit', 'commit and forget'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const store = new Map<number, Buffer>();
      let chunks = new KeyChunks();
      const model = new Map<number, readonly string[]>();
      let offset = 0;
      for (const { gap, keys, after } of steps) {
        offset += gap + 1;
        model.set(offset, keys);
        const bytes = toBinary(MessageSchema, create(MessageSchema, { tag: 't', keys }));
        const chunk = Math.floor(offset / CHUNK_ENTRIES);
        const index = offset % CHUNK_ENTRIES;
        chunks.add(chunk, index, bytes, 0, bytes.length, (of) => chunks.find(of) ?? store.get(of));
        if (after === 'nothing') continue;
        const batch: [number, Buffer][] = [];
        chunks.forEachUnstored((of, row) => batch.push([of, row]));
        for (const [of, row] of batch) {
          store.set(of, row);
          chunks.stored(of, row);
        }
        if (after === 'commit and forget') chunks = new KeyChunks();
      }
      for (let chunk = 0; chunk * CHUNK_ENTRIES <= offset; chunk++) {
        const row = chunks.find(chunk) ?? store.get(chunk) ?? Buffer.alloc(0);
        const expected = [...model].flatMap(([at, keys]) =>
          Math.floor(at / CHUNK_ENTRIES) === chunk
            ? keys.map((key) => ({ index: at % CHUNK_ENTRIES, hash: hashOf(key) }))
            : [],
        );
        expect(keyEntries(row)).toEqual(expected);
        for (const name of NAMES) {
          const with100 = expected.filter(
            ({ index, hash }) => index < 100 && hash === hashOf(name),
          );
          expect(lastWithKey(row, hashOf(name), 100)).toBe(with100.at(-1)?.index ?? -1);
        }
      }
    }),
  );
});

test('of a message with very many keys the first can be found', () => {
  const keys = Array.from({ length: KEYS_MAX + 10 }, (_, i) => `${i}`);
  const bytes = toBinary(MessageSchema, create(MessageSchema, { keys }));
  const chunks = new KeyChunks();
  chunks.add(0, 5, bytes, 0, bytes.length, () => undefined);
  const row = chunks.find(0) as Buffer;
  expect(lastWithKey(row, hashOf(`${KEYS_MAX - 1}`), 256)).toBe(5);
  expect(lastWithKey(row, hashOf(`${KEYS_MAX}`), 256)).toBe(-1);
});
