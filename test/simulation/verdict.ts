// Whether everything that was promised is there in the end, on every replica.

import type { StoredMessage } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { viewOf } from '../../services/broker/src/log/record.ts';
import { runLength } from '../../services/broker/src/log/record-run.ts';
import { BrokerClient } from '../support/broker-client.ts';
import { GROUPS, type Member, type SimCluster } from './cluster.ts';
import { TOPIC, type Workload } from './workload.ts';
import type { Process } from './world.ts';

interface Place {
  readonly queueId: number;
  readonly offset: number;
  readonly key: string;
}

/** Reads all replicas, and tells the cluster of every fault. */
export async function judge(cluster: SimCluster, workload: Workload): Promise<void> {
  const { world } = cluster;
  const [reader] = cluster.applications as [Process];
  const { sent, received } = workload.history;
  for (const group of GROUPS) {
    const members = cluster.members.filter((member) => member.group === group);
    sameLogs(cluster, members);
    for (const member of members) {
      const messages = await world.settled(
        world.as(reader, () => readAll(`${member.host}:10911`)),
        30_000,
      );
      judgeReplica(cluster, workload, member, messages);
    }
  }
  for (const { id, receipt } of sent) {
    if (receipt !== undefined && !received.has(id)) {
      cluster.fault(`message ${id} was acknowledged, and its group never got it`);
    }
  }
}

async function readAll(address: string): Promise<StoredMessage[]> {
  using client = new BrokerClient(address);
  const messages: StoredMessage[] = [];
  for await (const message of client.readAll(TOPIC)) messages.push(message);
  return messages;
}

/** All members have the same bytes up to the same end. */
function sameLogs(cluster: SimCluster, members: readonly Member[]): void {
  const logs = members.map((member) => {
    const log = member.broker?.roles.replica?.log;
    return { host: member.host, start: log?.start ?? 0, end: log?.next ?? 0, disk: member.disk };
  });
  const [first] = logs;
  if (first === undefined) return;
  for (const log of logs) {
    if (log.end !== first.end) {
      cluster.fault(`${log.host} has its log up to ${log.end}, ${first.host} up to ${first.end}`);
    }
    if (!bytesOf(log).equals(bytesOf(first))) {
      cluster.fault(`the logs of ${log.host} and ${first.host} differ`);
    }
  }
}

function bytesOf({ disk, end }: Pick<Member, 'disk'> & { end: number }): Buffer {
  return Buffer.concat(
    disk.paths
      .filter((path) => /^\/data\/log\/\d{20}$/.test(path))
      .map((path) => {
        const start = Number(path.slice(-20));
        const bytes = (disk.bytesOf(path) as Buffer).subarray(0, Math.max(0, end - start));
        // What an earlier use of the file left behind its last record has no meaning.
        return bytes.subarray(0, runLength(viewOf(bytes), 0, bytes.length, Infinity, start));
      }),
  );
}

function judgeReplica(
  cluster: SimCluster,
  { history: { sent } }: Workload,
  { host, group }: Member,
  messages: readonly StoredMessage[],
): void {
  const places = new Map<number, Place>();
  const next = new Map<number, number>();
  const newest = new Map<string, number>();
  for (const { message, queueId, offset: stored } of messages) {
    const offset = Number(stored);
    const expected = next.get(queueId) ?? 0;
    if (offset !== expected) {
      cluster.fault(`${host}: offset ${offset} of queue ${queueId} follows ${expected - 1}`);
    }
    next.set(queueId, offset + 1);
    const id = Number.parseInt(Buffer.from(message?.body ?? []).toString(), 10);
    const one = sent[id];
    if (one === undefined) {
      cluster.fault(`${host}: nobody sent what is at ${offset} of queue ${queueId}`);
      continue;
    }
    const key = message?.orderingKey ?? '';
    if (places.has(id)) cluster.fault(`${host}: message ${id} is stored twice`);
    places.set(id, { queueId, offset, key });
    if (key === '') continue;
    const before = newest.get(`${key} ${queueId}`) ?? -1;
    if (id < before) cluster.fault(`${host}: message ${id} of ${key} is stored behind ${before}`);
    newest.set(`${key} ${queueId}`, Math.max(before, id));
  }
  for (const { id, receipt } of sent) {
    if (receipt?.broker !== group) continue;
    const place = places.get(id);
    if (place === undefined) {
      cluster.fault(
        `${host}: message ${id} was acknowledged at ${receipt.offset} of queue ${receipt.queueId}, and is lost`,
      );
    } else if (place.queueId !== receipt.queueId || place.offset !== receipt.offset) {
      cluster.fault(
        `${host}: message ${id} was acknowledged at ${receipt.offset} of queue ${receipt.queueId}, and is at ${place.offset} of ${place.queueId}`,
      );
    }
  }
}
