// Who is told of changes to a group's progress in one queue.

/** Told what becomes of delivered messages, as records are applied. */
export interface ProgressObserver {
  /** Messages are settled. */
  settled(from: number, to: number): void;
  /** Messages wait for another delivery. */
  waits(from: number, to: number): void;
  /** Everything may be different. */
  reset(): void;
}
