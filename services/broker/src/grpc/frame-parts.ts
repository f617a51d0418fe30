// Where the messages of a frame are, when they are not simply next to each other in its queue.

/** A stretch of a frame's messages that are next to each other in a queue. */
export interface FramePart {
  /** Index in the frame of its first message. */
  readonly firstIndex: number;
  readonly queueId: number;
  /** That message's offset. */
  readonly offset: number;
  /** The messages were not stored, because they repeat others; these are the places of the others. */
  readonly duplicate: boolean;
}

/** The stretches of one frame. */
export class FrameParts {
  readonly all: FramePart[] = [];

  /** Where the message of an index is; indexes come in order. */
  add(index: number, queueId: number, offset: number, duplicate: boolean): void {
    const last = this.all.at(-1);
    const continues =
      last !== undefined &&
      last.queueId === queueId &&
      last.duplicate === duplicate &&
      last.offset + index - last.firstIndex === offset;
    if (!continues) this.all.push({ firstIndex: index, queueId, offset, duplicate });
  }
}

/** Where the message of an index is. */
export function placeIn(
  parts: readonly FramePart[],
  index: number,
): { queueId: number; offset: number; duplicate: boolean } {
  const part = parts.findLast(({ firstIndex }) => firstIndex <= index) as FramePart;
  const { queueId, duplicate } = part;
  return { queueId, offset: part.offset + index - part.firstIndex, duplicate };
}
