// One port for plaintext and TLS: the first byte of a connection tells which. 0x16 begins a TLS handshake, everything else is
// HTTP/2 in the clear.

import { createServer, type Socket, type Server as TcpServer } from 'node:net';
import { type ConnectionInjector, type Server, ServerCredentials } from '@grpc/grpc-js';
import type { Clock } from '../clock.ts';
import type { CertificateSource } from '../tls/certificates.ts';
import type { Certificate } from '../tls/self-signed.ts';

const TLS_HANDSHAKE = 0x16;
/** Who connects says something so soon. */
const FIRST_BYTE_MS_MAX = 10_000;

/** What a port accepts. */
export interface TlsSettings {
  readonly certificates: CertificateSource;
  /** Connections in the clear are closed. */
  readonly required: boolean;
}

/** A port that listens for both. */
export class MixedPort {
  readonly #server: Server;
  readonly #tls: TlsSettings;
  readonly #clock: Clock;
  readonly #plain: ConnectionInjector;
  readonly #tcp: TcpServer;
  /** For the certificate that it was made with. */
  #secure: { readonly certificate: Certificate; readonly injector: ConnectionInjector } | undefined;
  /** Connections that have said nothing yet. */
  readonly #silent = new Set<Socket>();

  constructor(server: Server, tls: TlsSettings, connectionsMax: number, clock: Clock) {
    this.#server = server;
    this.#tls = tls;
    this.#clock = clock;
    this.#plain = server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#tcp = createServer((socket) => this.#connected(socket));
    this.#tcp.maxConnections = connectionsMax;
  }

  /** Listens and returns the port. Rejects with Node's error. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#tcp.once('error', reject);
      this.#tcp.listen(port, host, () => {
        this.#tcp.off('error', reject);
        const address = this.#tcp.address();
        resolve(typeof address === 'object' ? (address?.port ?? port) : port);
      });
    });
  }

  /** Accepts nothing new. */
  close(): void {
    this.#tcp.close();
    this.#tls.certificates.close();
    for (const socket of this.#silent) socket.destroy();
  }

  #connected(socket: Socket): void {
    this.#silent.add(socket);
    const timer = this.#clock.setTimer(FIRST_BYTE_MS_MAX, () => socket.destroy());
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.once('close', () => {
      timer.cancel();
      this.#silent.delete(socket);
    });
    socket.once('readable', () => {
      timer.cancel();
      this.#silent.delete(socket);
      const first: Buffer | null = socket.read();
      if (first === null) {
        socket.destroy();
        return;
      }
      socket.unshift(first);
      if (first[0] === TLS_HANDSHAKE) void this.#encrypted(socket);
      else if (this.#tls.required) socket.destroy();
      else this.#plain.injectConnection(socket);
    });
  }

  async #encrypted(socket: Socket): Promise<void> {
    try {
      const certificate = await this.#tls.certificates.current();
      if (socket.destroyed) return;
      this.#injectorFor(certificate).injectConnection(socket);
    } catch {
      socket.destroy();
    }
  }

  /** Connections that have begun with a former certificate go on with it. */
  #injectorFor(certificate: Certificate): ConnectionInjector {
    if (this.#secure?.certificate !== certificate) {
      const pair = { cert_chain: certificate.certificate, private_key: certificate.key };
      const injector = this.#server.createConnectionInjector(
        ServerCredentials.createSsl(null, [pair]),
      );
      this.#secure = { certificate, injector };
    }
    return this.#secure.injector;
  }
}
