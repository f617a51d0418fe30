// The port for clients of RocketMQ 5. It holds no messages and no progress: what clients ask for is translated into calls
// of the own service, of this broker or of the one that serves the queue (broker-link.ts). So it serves in every role.

import { join } from 'node:path';
import { MessagingService } from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type CertificateModules,
  type Clock,
  certificateFiles,
  type Disk,
  GrpcServer,
  type Logger,
  ownCertificate,
  type Random,
  TernError,
  type TlsSettings,
} from '@ternmq/runtime';
import type { BrokerOptions } from '../config.ts';
import type { GroupSettings } from '../state/groups.ts';
import type { Topic } from '../state/topics.ts';
import { OwnLink } from './broker-link.ts';
import { Brokers } from './brokers.ts';
import { Clients } from './clients.ts';
import { Deliveries } from './deliveries.ts';
import { Orphans } from './orphans.ts';
import { messagingService } from './service.ts';

/** Batches of the largest bodies fit. */
const RECEIVE_BYTES_MAX = 64 << 20;
/** Every long poll is a stream, one for each queue and consumer of a connection. */
const STREAMS_MAX = 100_000;

/** What the endpoint stands on. */
export interface EndpointModules {
  /** Has the broker's own service. */
  readonly server: GrpcServer;
  /** A topic that this broker leads now. */
  readonly ownTopic: (name: string) => Topic | undefined;
  /** How a group behaves on this broker; as a new one when it does not know it. */
  readonly groupSettings: (name: string) => GroupSettings;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  readonly logger: Logger;
}

/** Serves clients of RocketMQ 5. */
export class RocketmqEndpoint {
  /** The port that it listens on. */
  readonly port: number;
  readonly #server: GrpcServer;
  readonly #closers: readonly (() => Promise<void> | void)[];

  private constructor(
    port: number,
    server: GrpcServer,
    closers: readonly (() => Promise<void> | void)[],
  ) {
    this.port = port;
    this.#server = server;
    this.#closers = closers;
  }

  /** Listens. Throws FAILED_PRECONDITION (PORT_IN_USE, CANNOT_LISTEN). */
  static async open(options: BrokerOptions, modules: EndpointModules): Promise<RocketmqEndpoint> {
    const { server: own, ownTopic, clock } = modules;
    const closers: (() => Promise<void> | void)[] = [];
    const brokers = new Brokers(options.nameserver, {
      own: new OwnLink(options.name, () => own.handlers(BrokerService)),
      ownTopic,
      clock,
    });
    closers.push(() => brokers.close());
    const clients = new Clients(clock);
    closers.push(() => clients.close());
    const deliveries = new Deliveries(clients, clock);
    closers.push(() => deliveries.close());
    clients.onEnd((clientId) => deliveries.release(clientId));
    const orphans = new Orphans(brokers, clients, clock);
    closers.push(() => orphans.close());
    const server = new GrpcServer({ receiveBytesMax: RECEIVE_BYTES_MAX, streamsMax: STREAMS_MAX });
    server.add(
      MessagingService,
      messagingService({
        brokers,
        clients,
        deliveries,
        groupSettings: modules.groupSettings,
        clock,
        closing: server.closing,
        advertised: options.rocketmqAdvertise,
      }),
    );
    const tls = tlsOf(options, modules);
    const port = await server.listen(options.host, options.rocketmqPort, tls);
    server.setServing(true);
    return new RocketmqEndpoint(port, server, closers.reverse());
  }

  /** Answers what is in flight, and takes everything apart. */
  async close(graceMs: number): Promise<void> {
    await this.#server.stop(graceMs);
    for (const close of this.#closers) await close();
  }
}

/** How encrypted connections are taken; undefined when they are not. Throws FAILED_PRECONDITION, INVALID_ARGUMENT. */
function tlsOf(options: BrokerOptions, modules: CertificateModules): TlsSettings | undefined {
  const { rocketmqTls, tlsCertificate, tlsKey } = options;
  if ((tlsCertificate === undefined) !== (tlsKey === undefined)) {
    throw new TernError(
      'INVALID_ARGUMENT',
      'BAD_OPTION',
      '--tls-certificate and --tls-key belong together: set both or none',
    );
  }
  if (rocketmqTls === 'off') return undefined;
  const hosts = new Set(['localhost', '127.0.0.1', '::1', options.advertise ?? options.host]);
  const certificates =
    tlsCertificate !== undefined && tlsKey !== undefined
      ? certificateFiles(tlsCertificate, tlsKey, modules)
      : ownCertificate(join(options.data, 'tls'), [...hosts], modules);
  return { certificates, required: rocketmqTls === 'required' };
}
