// Lists of unsettled messages, as queries of progress answer them.

/** Unsettled messages side by side that were delivered equally often under one lease. */
export interface UnsettledRange {
  /** Offset of the first message. */
  readonly first: number;
  /** Offset behind the last message. */
  readonly end: number;
  /** Lease id of their last delivery. */
  readonly leaseId: number;
  /** Deliveries so far, this one included; those that were given back do not count. */
  readonly attempt: number;
}

/** Adds a range to a list, joined to the one before it when nothing tells them apart. */
export function addRange(
  ranges: UnsettledRange[],
  first: number,
  end: number,
  leaseId: number,
  attempt: number,
): void {
  const last = ranges.at(-1);
  if (last?.end === first && last.leaseId === leaseId && last.attempt === attempt) {
    ranges[ranges.length - 1] = { ...last, end };
  } else {
    ranges.push({ first, end, leaseId, attempt });
  }
}
