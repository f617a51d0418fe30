// Machines and services of a test, all on this machine: each has an address of its own in 127.0.0.0/8, so that all
// keep the ports that the files of deploy/ name.

/** Addresses by name. Those of two test processes differ. */
export class Loopback {
  readonly #network = `127.${100 + (process.pid % 100)}.${Math.floor(process.pid / 100) % 250}`;
  readonly #hosts = new Map<string, number>();

  /** The address of a host; a new name gets a new one. */
  address(name: string): string {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = this.#hosts.size + 1;
      this.#hosts.set(name, host);
    }
    return `${this.#network}.${host}`;
  }

  /** A text of a host with addresses in place of names; "all addresses" and "this machine" are the host's own. */
  replace(text: string, host: string): string {
    let replaced = text.replaceAll(/\b(0\.0\.0\.0|127\.0\.0\.1)\b/g, this.address(host));
    for (const name of this.#hosts.keys()) {
      const escaped = name.replaceAll('.', '\\.');
      // A name with a domain is one everywhere; a short one in front of a port or alone behind advertise=: it may also be
      // what etcd calls a member.
      const place = name.includes('.')
        ? new RegExp(`(?<![\\w.-])${escaped}(?![\\w.-])`, 'g')
        : new RegExp(`(?<![\\w.-])${escaped}(?=:\\d)|(?<=advertise=)${escaped}$`, 'g');
      replaced = replaced.replaceAll(place, this.address(name));
    }
    return replaced;
  }
}
