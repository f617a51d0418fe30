// Which messages of one queue may be handed out while a group's messages are delivered in order: by ordering key, those
// that were delivered or passed over, and are not settled.
//
//   of one key, by offset:   leased … leased | waiting … waiting
//
// The leased ones come first, and all of them are with one holder: a message may be handed out to the holder of all
// earlier ones of its key, and to anyone when there are none. A holder is a consumer's stream; after a restart nobody
// knows it, and the key waits until its leases have ended.
//
// Keys are hashes: two keys with one hash wait for each other, which is slower and never wrong. 0 stands for no key and has
// no place here. Pure.

interface Key {
  /** Offsets, ascending. */
  readonly leased: number[];
  readonly waiting: number[];
  holder: object | undefined;
}

/** The ordering keys of one queue that have unsettled messages. */
export class KeyLocks {
  readonly #keys = new Map<number, Key>();
  /** Keys that have messages which wait; the one looked at last is at the end. */
  readonly #waiting = new Set<number>();
  /** Messages that wait. */
  waiting = 0;

  /** May a message that was never delivered be handed out? All others of its key lie before it. */
  admits(key: number, holder: object): boolean {
    const known = this.#keys.get(key);
    if (known === undefined) return true;
    return known.waiting.length === 0 && known.holder === holder;
  }

  /** May a message that waits be handed out? */
  admitsWaiting(key: number, offset: number, holder: object): boolean {
    const known = this.#keys.get(key);
    if (known === undefined) return true;
    if (known.waiting[0] !== offset) return false;
    const last = known.leased.at(-1);
    return last === undefined || (last < offset && known.holder === holder);
  }

  /**
   * The first message that waits of each of some keys, where nothing else holds it back; other keys come first the next
   * time.
   *
   * @param keysMax keys to look at
   */
  candidates(holder: object, keysMax: number): { readonly key: number; readonly offset: number }[] {
    const looked: number[] = [];
    for (const key of this.#waiting) {
      if (looked.length === keysMax) break;
      looked.push(key);
    }
    const found: { key: number; offset: number }[] = [];
    for (const key of looked) {
      this.#waiting.delete(key);
      this.#waiting.add(key);
      const offset = this.#keys.get(key)?.waiting[0];
      if (offset !== undefined && this.admitsWaiting(key, offset, holder)) {
        found.push({ key, offset });
      }
    }
    return found;
  }

  /** The message of a key that waits and comes next; undefined when none does. */
  firstWaiting(key: number): number | undefined {
    return this.#keys.get(key)?.waiting[0];
  }

  /** A message is handed out. */
  leased(key: number, offset: number, holder: object | undefined): void {
    const known = this.#key(key);
    this.#removeWaiting(key, known, offset);
    insert(known.leased, offset);
    known.holder = holder;
  }

  /** A message waits: it was passed over, or has failed, or was given back. */
  waits(key: number, offset: number): void {
    const known = this.#key(key);
    remove(known.leased, offset);
    if (known.leased.length === 0) known.holder = undefined;
    if (known.waiting.includes(offset)) return;
    insert(known.waiting, offset);
    this.#waiting.add(key);
    this.waiting++;
  }

  /** A message is settled. */
  settled(key: number, offset: number): void {
    const known = this.#keys.get(key);
    if (known === undefined) return;
    remove(known.leased, offset);
    this.#removeWaiting(key, known, offset);
    if (known.leased.length > 0) return;
    known.holder = undefined;
    if (known.waiting.length === 0) this.#keys.delete(key);
  }

  #key(key: number): Key {
    let known = this.#keys.get(key);
    if (known === undefined) {
      known = { leased: [], waiting: [], holder: undefined };
      this.#keys.set(key, known);
    }
    return known;
  }

  #removeWaiting(key: number, known: Key, offset: number): void {
    if (!remove(known.waiting, offset)) return;
    this.waiting--;
    if (known.waiting.length === 0) this.#waiting.delete(key);
  }
}

/** Inserts an offset; most are the largest. */
function insert(offsets: number[], offset: number): void {
  let at = offsets.length;
  while (at > 0 && (offsets[at - 1] as number) > offset) at--;
  offsets.splice(at, 0, offset);
}

/** Removes an offset; most are the smallest. */
function remove(offsets: number[], offset: number): boolean {
  if (offsets[0] === offset) {
    offsets.shift();
    return true;
  }
  const at = offsets.indexOf(offset);
  if (at < 0) return false;
  offsets.splice(at, 1);
  return true;
}
