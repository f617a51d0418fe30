/** A set of unsigned 32-bit numbers, one bit each, that grows. */
export class Bits {
  #words = new Uint32Array(64);

  add(index: number): void {
    const word = index >>> 5;
    if (word >= this.#words.length) {
      const grown = new Uint32Array(Math.max(word + 1, this.#words.length * 2));
      grown.set(this.#words);
      this.#words = grown;
    }
    (this.#words[word] as number) |= 1 << (index & 31);
  }

  has(index: number): boolean {
    const word = this.#words[Math.floor(index / 32)];
    return word !== undefined && (word & (1 << (index & 31))) !== 0;
  }
}

/** A list of unsigned 32-bit numbers by index, 0 where none was set, that grows. */
export class Numbers {
  #values = new Uint32Array(1024);
  #length = 0;

  /** Highest index that was set, plus one. */
  get length(): number {
    return this.#length;
  }

  set(index: number, value: number): void {
    if (index >= this.#values.length) {
      const grown = new Uint32Array(Math.max(index + 1, this.#values.length * 2));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[index] = value;
    if (index >= this.#length) this.#length = index + 1;
  }

  get(index: number): number {
    return this.#values[index] ?? 0;
  }
}
