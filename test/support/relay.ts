// A link that can break: takes connections on one address and passes their bytes on to another.

import { connect, createServer, type Server, type Socket } from 'node:net';

/** Passes connections on, until they are cut. */
export class Relay implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What the server says, and to whom it goes. */
  readonly #answers = new Map<Socket, Socket>();

  private constructor(to: { readonly host: string; readonly port: number }) {
    this.#server = createServer((near) => {
      const far = connect(to);
      this.#answers.set(far, near);
      far.once('close', () => this.#answers.delete(far));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.setNoDelay(true);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.once('close', () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      }
    });
  }

  /** Listens on a host, and passes on to the same port of another. */
  static async start(host: string, to: { host: string; port: number }): Promise<Relay> {
    const relay = new Relay(to);
    await new Promise<void>((resolve, reject) => {
      relay.#server.once('error', reject);
      relay.#server.listen(to.port, host, resolve);
    });
    return relay;
  }

  /** From here on nothing arrives that the server says on connections that are open; what it is told does. Until `cut`. */
  hold(): void {
    for (const [far, near] of this.#answers) {
      far.unpipe(near);
      far.pause();
    }
  }

  /** Breaks all connections, in the middle of whatever they carry. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }
}
