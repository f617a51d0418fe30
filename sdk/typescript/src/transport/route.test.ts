import { create } from '@bufbuild/protobuf';
import {
  BrokerRole,
  BrokerState,
  RouteSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { describe, expect, test } from 'vitest';
import { routeOf } from './route.ts';

const { MASTER, SLAVE, STAND_IN } = BrokerRole;
const { LIVE, SUSPECT } = BrokerState;

/** The route of a topic with two queues in one group, whose members are these. */
function routeTo(...members: [BrokerRole, BrokerState][]) {
  const brokers = members.map(([role, state], id) => ({ id, role, state, address: `b:${id}` }));
  const groups = [{ brokerName: 'b', queues: { topic: 't', queues: 2 }, brokers }];
  return routeOf(create(RouteSchema, { topic: 't', groups }), undefined);
}

describe('a route names for consumers', () => {
  test('the master while it lives, whoever else says to stand in', () => {
    expect(routeTo([MASTER, LIVE], [SLAVE, LIVE]).groups).toEqual([
      { broker: 'b', consumeAt: 'b:0', slaves: ['b:1'] },
    ]);
    expect(routeTo([MASTER, LIVE], [STAND_IN, LIVE]).groups[0]?.consumeAt).toBe('b:0');
  });

  test('the slave that stands in, once the master is suspect or gone, and takes no messages there', () => {
    const suspect = routeTo([MASTER, SUSPECT], [STAND_IN, LIVE]);
    expect(suspect.groups[0]).toMatchObject({ consumeAt: 'b:1', slaves: ['b:1'] });
    expect(suspect.queues.map(({ address }) => address)).toEqual(['b:0', 'b:0']);
    const gone = routeTo([SLAVE, SUSPECT], [SLAVE, LIVE], [STAND_IN, LIVE]);
    expect(gone.groups[0]).toMatchObject({ consumeAt: 'b:2', slaves: ['b:1', 'b:2'] });
    expect(gone.queues).toEqual([]);
  });

  test('a suspect master rather than nobody, and nobody when there is none', () => {
    expect(routeTo([MASTER, SUSPECT], [SLAVE, LIVE]).groups[0]?.consumeAt).toBe('b:0');
    expect(routeTo([SLAVE, LIVE], [STAND_IN, SUSPECT]).groups[0]?.consumeAt).toBeUndefined();
  });
});
