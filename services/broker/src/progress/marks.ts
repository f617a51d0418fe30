// Bits that mark messages of a stretch of a queue, one a message, lowest first.

/** Visits the runs of marked offsets of [first, end). Without marks there are none. */
export function forEachMarkedRun(
  first: number,
  end: number,
  marks: Uint8Array | undefined,
  visit: (from: number, to: number) => void,
): void {
  if (marks === undefined) return;
  const bits = Math.min(end - first, 8 * marks.length);
  let run = 0;
  for (let bit = 0; bit <= bits; bit++) {
    if (bit < bits && ((marks[bit >> 3] as number) >> (bit & 7)) & 1) {
      run++;
    } else if (run > 0) {
      visit(first + bit - run, first + bit);
      run = 0;
    }
  }
}

/** Is a message marked? */
export function isMarked(marks: Uint8Array | undefined, index: number): boolean {
  return (((marks?.[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;
}

/** Marks a message; returns the marks, grown where there was no room. */
export function mark(marks: Uint8Array | undefined, index: number): Uint8Array {
  const byte = index >> 3;
  let all = marks;
  if (all === undefined || byte >= all.length) {
    const larger = new Uint8Array(Math.max(32, 2 * (byte + 1)));
    if (all !== undefined) larger.set(all);
    all = larger;
  }
  all[byte] = (all[byte] as number) | (1 << (index & 7));
  return all;
}
