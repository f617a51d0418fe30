// The state store on LMDB. The only importer of `lmdb`.

import { constants } from 'node:os';
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

function ignore(): void {}

/** What made a commit fail, with the code ENOSPC when the disk is full. */
async function commitFailure(error: Error & { commitError?: Promise<unknown> }): Promise<Error> {
  // lmdb settles it in the turn in which it fails the commit.
  const told = error.commitError?.catch((cause: unknown) => cause);
  const cause = await Promise.race([told, new Promise((resolve) => setImmediate(resolve))]);
  const failure = new Error('the state store cannot be written', { cause: cause ?? error });
  const full = (cause as { code?: number } | undefined)?.code === constants.errno.ENOSPC;
  return full ? Object.assign(failure, { code: 'ENOSPC' }) : failure;
}

/** Opens the store in a folder, which is created when it does not exist. Throws when it is damaged. */
export function openLmdbStore(folder: string): StateStore {
  const database: Database = open<Buffer, Buffer>({
    path: folder,
    keyEncoding: 'binary',
    encoding: 'binary',
    compression: false,
    // A commit is done when it is flushed, and none waits for others of its turn: we commit in batches of our own. With
    // either, a failed commit also leaves promises behind that nobody can catch, or that never settle.
    overlappingSync: false,
    eventTurnBatching: false,
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
      try {
        await database.batch(() => {
          // Each write has a promise of its own; the batch's tells the same.
          for (const key of removes) database.remove(key).catch(ignore);
          for (const { key, value } of puts) database.put(key, value).catch(ignore);
        });
      } catch (error) {
        throw await commitFailure(error as Error);
      }
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
