// An ordered key-value store that commits batches whole: what the derived state is kept in. The broker's own
// is LMDB; a map stands in for it where a test or the simulation must own all I/O. Both pass the same
// contract tests.

/** A row. */
export interface Row {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Changes that become visible together, or not at all. Later entries win over earlier ones. */
export interface Batch {
  /** Rows to write. */
  readonly puts: Row[];
  /** Keys to remove; a key that does not exist is harmless. */
  readonly removes: Buffer[];
}

/** A store that nobody changes while it is read. */
export interface StoreView {
  /** Rows with start <= key < end, in the order of their keys' bytes. */
  range(start: Buffer, end: Buffer): Iterable<Row>;
  /** Ends the view. */
  close(): void;
}

/** An ordered store of rows. */
export interface StateStore {
  /** The value of a key, or undefined; the bytes may be kept. */
  get(key: Buffer): Buffer | undefined;
  /** Rows with start <= key < end, in the order of their keys' bytes. */
  range(start: Buffer, end: Buffer): Iterable<Row>;
  /** Keys with start <= key < end, at most `limit`. */
  keys(start: Buffer, end: Buffer, limit: number): Buffer[];
  /**
   * Resolves when the batch is committed, and survives a crash. Rejects with the code ENOSPC when the disk is full: nothing
   * has changed then, and the batch may be committed again.
   */
  commit(batch: Batch): Promise<void>;
  /** As commit, but before it returns: only while the broker starts. */
  commitSync(batch: Batch): void;
  /** The store as it is now, whatever is committed afterwards. */
  view(): StoreView;
  /** Closes the store; commits under way are finished first. */
  close(): Promise<void>;
}
