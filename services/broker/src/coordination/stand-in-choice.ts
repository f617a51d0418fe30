// Which slave serves consumers while the master of a group with fixed roles is gone. Reads no clock: times are monotonic.
//
// The slave with the lowest number begins when the master has not lived for the time; every other one waits that much
// longer for each that is before it, in case these cannot; and anew when one that stood in is lost. Who stands in goes on, unless
// one with a lower number does, too.
// Two that stand in at the same time do no harm: what both have settled is merged.

/** A member of a broker group, as the name servers know it. */
export interface KnownMember {
  readonly id: number;
  readonly address: string;
  readonly role: 'master' | 'slave' | 'stand-in';
  /** Of its newest leadership, or the newest that it knows. */
  readonly epoch: number;
  /** The name servers hear it. */
  readonly lives: boolean;
}

/** The choice of one slave. */
export class StandInChoice {
  readonly #selfId: number;
  readonly #afterMs: number;
  #goneSinceMs: number | undefined;
  #chosen = false;

  /** @param afterMs how long the master is gone before it begins; 0 for never */
  constructor(selfId: number, afterMs: number) {
    this.#selfId = selfId;
    this.#afterMs = afterMs;
  }

  /** Shall this slave serve consumers now? */
  look(members: readonly KnownMember[], nowMs: number): boolean {
    if (this.#afterMs === 0) return false;
    if (members.some(({ role, lives }) => role === 'master' && lives)) {
      this.#goneSinceMs = undefined;
      this.#chosen = false;
      return false;
    }
    this.#goneSinceMs ??= nowMs;
    const others = members.filter(({ id, role, lives }) => {
      return lives && role !== 'master' && id !== this.#selfId && id !== 0;
    });
    const before = others.filter(({ id }) => id < this.#selfId);
    const standIns = others.filter(({ role }) => role === 'stand-in');
    if (before.some(({ role }) => role === 'stand-in')) this.#chosen = false;
    // Who stood in may come back, and knows what was settled there.
    if (standIns.length > 0) this.#goneSinceMs = nowMs;
    else {
      const waitMs = this.#afterMs * (1 + before.length);
      this.#chosen ||= nowMs - this.#goneSinceMs >= waitMs;
    }
    return this.#chosen;
  }
}
