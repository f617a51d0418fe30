// Makes what was written to segments durable: every segment written to since the last sync, and the folder when names in
// it have changed.

import type { Segment, Segments } from './segments.ts';

/** Syncs the segments of a log. */
export class SegmentSyncer {
  readonly #segments: Segments;
  /** Segments written to since they were last synced. */
  #written: Segment[] = [];
  #folderChanged = false;

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** Something was written to a segment. */
  wrote(segment: Segment): void {
    if (this.#written.at(-1) !== segment) this.#written.push(segment);
  }

  /** A segment was deleted: nothing of it need be durable. */
  forget(segment: Segment): void {
    this.#written = this.#written.filter((one) => one !== segment);
    this.#folderChanged = true;
  }

  /** A segment file was created. */
  created(): void {
    this.#folderChanged = true;
  }

  /** Calls back when everything written before the call is durable, or with the first error. */
  sync(done: (error: Error | null) => void): void {
    const segments = this.#written;
    this.#written = [];
    let left = segments.length + 1;
    let failure: Error | null = null;
    const finished = (error: Error | null): void => {
      failure ??= error;
      if (--left === 0) done(failure);
    };
    for (const segment of segments) {
      this.#segments.hold(segment).dataSync((error) => {
        this.#segments.release(segment);
        finished(error);
      });
    }
    if (this.#folderChanged) {
      this.#folderChanged = false;
      this.#segments.syncFolder(finished);
    } else {
      finished(null);
    }
  }
}
