// When the process collects its young garbage.

import { setFlagsFromString } from 'node:v8';

/** Percent of the young generation (at most 32 MiB) that may fill up. */
const TRIGGER_PERCENT = 4;

/**
 * Collects the young generation after each megabyte or so. What comes from the network is small objects that hold
 * large buffers, which V8 counts by themselves: by default it collects the whole heap for them, some ten times a
 * second and on all cores, before the young generation is ever full.
 */
export function collectYoungGarbageOften(): void {
  setFlagsFromString(`--minor-gc-task-trigger=${TRIGGER_PERCENT}`);
}
