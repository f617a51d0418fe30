// The state store on LMDB. The only importer of `lmdb`.

import { open, type RootDatabase } from 'lmdb';
import type { Batch, Row, StateStore, StoreView } from './store.ts';

type Database = RootDatabase<Buffer, Buffer>;

function* rows(
  database: Database,
  start: Buffer,
  end: Buffer,
  transaction?: ReturnType<Database['useReadTransaction']>,
): Iterable<Row> {
  const options = { start, end, ...(transaction === undefined ? {} : { transaction }) };
  for (const { key, value } of database.getRange(options)) {
    yield { key: Buffer.from(key), value: Buffer.from(value) };
  }
}

/** Opens the store in a folder, which is created when it does not exist. Throws when it is damaged. */
export function openLmdbStore(folder: string): StateStore {
  const database: Database = open<Buffer, Buffer>({
    path: folder,
    keyEncoding: 'binary',
    encoding: 'binary',
    compression: false,
    // The broker holds the lock on the whole data folder.
    noSubdir: false,
    // A view must never keep an LMDB page from being used again for long; rows are few megabytes.
    maxReaders: 16,
  });
  return {
    get(key) {
      return database.getBinary(key);
    },

    range(start, end) {
      return rows(database, start, end);
    },

    keys(start, end, limit) {
      return [...database.getKeys({ start, end, limit })].map((key) => Buffer.from(key));
    },

    async commit({ puts, removes }: Batch) {
      if (puts.length + removes.length === 0) return;
      await database.batch(() => {
        for (const key of removes) database.remove(key);
        for (const { key, value } of puts) database.put(key, value);
      });
    },

    commitSync({ puts, removes }: Batch) {
      database.transactionSync(() => {
        for (const key of removes) database.removeSync(key);
        for (const { key, value } of puts) database.putSync(key, value);
      });
    },

    view(): StoreView {
      const transaction = database.useReadTransaction();
      return {
        range(start, end) {
          return rows(database, start, end, transaction);
        },
        close() {
          transaction.done();
        },
      };
    },

    close() {
      return database.close();
    },
  };
}
