// How the hosts of a group are parted, and what must go on meanwhile. Each member's host also runs a member of etcd.

import type { NetworkHosts } from '../support/test-network.ts';

export const ETCD_PORT = 2379;
/** Where the applications and the name server are. */
export const CLIENT_HOST = 'client';

/** Name of a member's host. */
export function hostOf(member: number): string {
  return `mq${member}`;
}

/** Who is who when the network parts. */
interface Parties {
  readonly network: NetworkHosts;
  /** Host of the member that leads. */
  readonly master: string;
  /** Hosts of the others. */
  readonly slaves: readonly [string, string];
}

/** A way to part a group. */
export interface Partition {
  readonly name: string;
  readonly part: (parties: Parties) => void;
  /** Sending goes on while the partition lasts: a majority of etcd is with two in-sync members, and clients reach them. */
  readonly goesOn: boolean;
  /** Another member leads afterwards. */
  readonly moves: boolean;
}

function between(network: NetworkHosts, one: string, others: readonly string[]): void {
  for (const other of others) {
    network.cut(one, other);
    network.cut(other, one);
  }
}

export const PARTITIONS: readonly Partition[] = [
  {
    name: 'the master is cut off from everybody',
    part: ({ network, master, slaves }) => between(network, master, [...slaves, CLIENT_HOST]),
    goesOn: true,
    moves: true,
  },
  {
    name: 'the master is cut off from the other members, and clients reach all',
    part: ({ network, master, slaves }) => between(network, master, slaves),
    goesOn: true,
    moves: true,
  },
  {
    name: 'the master reaches no member of etcd, and everybody else',
    part: ({ network, master }) => network.cutPort(master, ETCD_PORT),
    goesOn: true,
    moves: true,
  },
  {
    name: 'what the master sends to other members is lost',
    part: ({ network, master, slaves }) => {
      for (const slave of slaves) network.cut(master, slave);
    },
    goesOn: true,
    moves: true,
  },
  {
    name: 'what other members send to the master is lost',
    part: ({ network, master, slaves }) => {
      for (const slave of slaves) network.cut(slave, master);
    },
    goesOn: true,
    moves: true,
  },
  {
    name: 'a slave is cut off from everybody',
    part: ({ network, master, slaves: [slave, other] }) =>
      between(network, slave, [master, other, CLIENT_HOST]),
    goesOn: true,
    moves: false,
  },
  {
    name: 'clients are cut off from the master',
    part: ({ network, master }) => between(network, master, [CLIENT_HOST]),
    goesOn: false,
    moves: false,
  },
  {
    name: 'what the master sends to clients is lost',
    part: ({ network, master }) => network.cut(master, CLIENT_HOST),
    goesOn: false,
    moves: false,
  },
];
