// Who is in a broker group, as the name servers know it.

import {
  type Broker,
  BrokerRole,
  BrokerState,
  NameServerService,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, callOnce } from '@ternmq/runtime';
import type { KnownMember } from './stand-in-choice.ts';

const DEADLINE_MS = 2000;

/**
 * Asks every name server; of what they say of a member the newest counts. Rejects when none answers that knows the cluster: one
 * that has just started does not, unless it knows a master.
 */
export async function findGroup(
  nameservers: readonly string[],
  brokerName: string,
  clock: Clock,
): Promise<KnownMember[]> {
  const answers = await Promise.allSettled(
    nameservers.map((address) => membersAt(address, brokerName, clock)),
  );
  const members = new Map<number, KnownMember>();
  let answered = false;
  for (const answer of answers) {
    if (answer.status === 'rejected') continue;
    answered ||= !answer.value.warmingUp;
    for (const member of answer.value.members) {
      const known = members.get(member.id);
      if (known === undefined || isNewer(member, known)) members.set(member.id, member);
    }
  }
  const all = [...members.values()];
  if (!answered && !all.some(({ role }) => role === 'master')) {
    throw new Error('no name server answers that knows the cluster');
  }
  return all;
}

function isNewer(one: KnownMember, other: KnownMember): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.lives && !other.lives);
}

async function membersAt(
  address: string,
  brokerName: string,
  clock: Clock,
): Promise<{ members: KnownMember[]; warmingUp: boolean }> {
  const { brokers, warmingUp } = await callOnce(
    address,
    NameServerService.method.describeCluster,
    {},
    { deadline: clock.nowMs() + DEADLINE_MS },
  );
  const members = brokers.flatMap(({ broker }) =>
    broker?.name === brokerName ? [memberOf(broker)] : [],
  );
  return { members, warmingUp };
}

function memberOf({ id, address, role, epoch, state }: Broker): KnownMember {
  const name =
    role === BrokerRole.MASTER ? 'master' : role === BrokerRole.STAND_IN ? 'stand-in' : 'slave';
  return { id, address, role: name, epoch: Number(epoch), lives: state === BrokerState.LIVE };
}
