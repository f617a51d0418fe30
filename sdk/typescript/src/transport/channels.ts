// The connections of a client, one for each server.

import { Channel } from './channel.ts';

/** Connections by address. */
export class Channels {
  readonly #channels = new Map<string, Channel>();

  /** The connection to a server. */
  get(address: string): Channel {
    let channel = this.#channels.get(address);
    if (channel === undefined) {
      channel = new Channel(address);
      this.#channels.set(address, channel);
    }
    return channel;
  }

  /** Closes all. */
  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}
