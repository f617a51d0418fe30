// A broker group as it runs in earnest: a name server, etcd, and members that are processes of their own.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { expect } from 'vitest';
import { viewOf } from '../../services/broker/src/log/record.ts';
import { runLength } from '../../services/broker/src/log/record-run.ts';
import { ChildBroker } from '../support/child-broker.ts';
import type { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { Relay } from '../support/relay.ts';

const NAME = 'b1';
const IN_SYNC_MS_MAX = 60_000;
const LEADS_MS_MAX = 30_000;

/** How the group is started. */
export interface GroupProcessesOptions {
  readonly folder: string;
  /** Elects the master; roles are fixed when absent. */
  readonly etcd?: Etcd;
  readonly members: number;
  /** Lease of the master, as `--election-lease` takes it. */
  readonly lease?: string;
  /** With fixed roles: as `--stand-in-after` takes it. */
  readonly standInAfter?: string;
  readonly flush?: 'sync' | 'async';
  /** Where members keep their data, by their ids; folders in `folder` when absent. */
  readonly data?: readonly string[];
  /** Members and clients reach each member over a link of this address that can be cut. */
  readonly linkHost?: string;
}

/** How many bytes of each segment are records, by its name; what lies behind the last one has no meaning. */
function logRecords(folder: string): Map<string, number> {
  const log = join(folder, 'log');
  const files = readdirSync(log).filter((file) => /^\d+$/.test(file));
  return new Map(
    files.map((file) => {
      const bytes = readFileSync(join(log, file));
      return [file, runLength(viewOf(bytes), 0, bytes.length, Infinity, Number(file))];
    }),
  );
}

/** A group of processes. */
export class GroupProcesses implements AsyncDisposable {
  readonly nameServer: ChildBroker;
  readonly members: readonly ChildBroker[];
  readonly client: Client;
  /** The link to each member; none when they are reached directly. */
  readonly links: readonly Relay[];

  /** Folder of each member's data. */
  readonly folders: readonly string[];

  private constructor(
    nameServer: ChildBroker,
    members: readonly ChildBroker[],
    folders: readonly string[],
    links: readonly Relay[],
  ) {
    this.links = links;
    this.nameServer = nameServer;
    this.members = members;
    this.folders = folders;
    this.client = new Client({ nameservers: nameServer.nameserver });
  }

  /** Starts everything, and waits until all members are in sync. */
  static async start(options: GroupProcessesOptions): Promise<GroupProcesses> {
    const nameServer = await ChildBroker.start({
      command: 'nameserver',
      args: ['--broker-timeout', '3s'],
    });
    const members: ChildBroker[] = [];
    const folders: string[] = [];
    const links: Relay[] = [];
    const { linkHost } = options;
    for (let id = 0; id < options.members; id++) {
      const data = options.data?.[id] ?? join(options.folder, `member-${id}`);
      folders.push(data);
      const member = await ChildBroker.start({
        command: 'broker',
        data,
        nameserver: nameServer.nameserver,
        ...(options.flush === undefined ? {} : { flush: options.flush }),
        args: [
          ...['--name', NAME, '--id', `${id}`, '--cluster', `test-${nameServer.pid}`],
          ...(options.etcd === undefined
            ? []
            : ['--election', 'etcd', '--etcd', options.etcd.address]),
          ...(options.lease === undefined ? [] : ['--election-lease', options.lease]),
          ...(options.standInAfter === undefined ? [] : ['--stand-in-after', options.standInAfter]),
          ...(linkHost === undefined ? [] : ['--advertise', linkHost]),
        ],
      });
      members.push(member);
      if (linkHost !== undefined) {
        const port = Number(member.address.split(':')[1]);
        links.push(await Relay.start(linkHost, { host: '127.0.0.1', port }));
      }
    }
    const group = new GroupProcesses(nameServer, members, folders, links);
    await group.inSync(members.map((_, id) => id));
    return group;
  }

  /** The member that leads now, as the name server knows it. */
  async leader(): Promise<number> {
    const { admin } = this.client;
    return eventually(
      'a member leads',
      async () => {
        const brokers = await admin.describeCluster({ deadlineMs: 1000 });
        const masters = brokers.filter(({ master, suspect }) => master && !suspect);
        const details = await Promise.all(
          masters.map(({ id }) => admin.describeBroker(NAME, { id, deadlineMs: 1000 })),
        );
        const leading = details.filter((one) => one.leading);
        return leading.sort((a, b) => b.epoch - a.epoch)[0]?.id;
      },
      { withinMs: LEADS_MS_MAX, everyMs: 20 },
    );
  }

  /** Addresses of the members themselves, by their ids, whatever becomes of their links. */
  get addresses(): string[] {
    return this.members.map(({ address }) => address);
  }

  /**
   * Expects that the bytes of every member's log are the same, segment by segment, up to the shortest of them; returns the
   * digests of those ranges.
   */
  async sameLogs(): Promise<string[]> {
    const logs = this.folders.map((folder) => logRecords(folder));
    const shared = [...(logs[0]?.keys() ?? [])].filter((name) =>
      logs.every((one) => one.has(name)),
    );
    expect(shared.length).toBeGreaterThan(0);
    return shared.map((name) => {
      const lengths = logs.map((one) => one.get(name) as number);
      const end = Math.min(...lengths);
      const [first = '', ...others] = this.folders.map((folder) =>
        createHash('sha256')
          .update(readFileSync(join(folder, 'log', name)).subarray(0, end))
          .digest('hex'),
      );
      expect(others, `segment ${name} up to ${end}`).toEqual(others.map(() => first));
      return first;
    });
  }

  /** Waits until these members are in sync. */
  async inSync(ids: readonly number[]): Promise<void> {
    const { admin } = this.client;
    await eventually(
      `members ${ids.join(', ')} are in sync`,
      async () => {
        const { inSync } = await admin.describeBroker(NAME, {
          id: await this.leader(),
          deadlineMs: 1000,
        });
        return inSync.join() === ids.join() || undefined;
      },
      { withinMs: IN_SYNC_MS_MAX, everyMs: 50 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close({ drainMs: 100 });
    for (const link of this.links) await link[Symbol.asyncDispose]();
    for (const member of this.members) await member[Symbol.asyncDispose]();
    await this.nameServer[Symbol.asyncDispose]();
  }
}
