import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BrokerRole,
  BrokerSchema,
  BrokerState,
  TopicQueuesSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { brokerKey, RouteTable } from './route-table.ts';

const { MASTER, SLAVE } = BrokerRole;
const { LIVE, SUSPECT } = BrokerState;

function broker(name: string, id: number, more: MessageInitShape<typeof BrokerSchema> = {}) {
  return create(BrokerSchema, {
    name,
    id,
    address: `${name}-${id}:1`,
    role: id === 0 ? MASTER : SLAVE,
    state: LIVE,
    ...more,
  });
}

function serving(topic: string, queues = 4) {
  return create(TopicQueuesSchema, { topic, queues, readable: true, writable: true });
}

let table: RouteTable;
beforeEach(() => {
  table = new RouteTable();
});

/** A route as `group:queues[id role state, ...]` texts. */
function shown(topic: string): string[] {
  return table.route(topic).groups.map(({ brokerName, queues, brokers }) => {
    const members = brokers.map(
      ({ id, role, state }) =>
        `${id} ${role === MASTER ? 'MASTER' : 'SLAVE'} ${state === LIVE ? 'LIVE' : 'SUSPECT'}`,
    );
    return `${brokerName}:${queues?.queues}[${members.join(', ')}]`;
  });
}

describe('a route', () => {
  test('lists the groups that serve the topic by name, and their members by id', () => {
    table.put(broker('b', 0), [serving('t', 8)]);
    table.put(broker('a', 1), [serving('t')]);
    table.put(broker('a', 0), [serving('t'), serving('other')]);
    table.put(broker('c', 0), [serving('other')]);
    expect(shown('t')).toEqual(['a:4[0 MASTER LIVE, 1 SLAVE LIVE]', 'b:8[0 MASTER LIVE]']);
    expect(shown('unknown')).toEqual([]);
  });

  test('has what the master says of the topic, not its slaves', () => {
    table.put(broker('a', 1), [serving('t', 2), serving('deleted at the master')]);
    table.put(broker('a', 0), [serving('t', 16)]);
    expect(shown('t')).toEqual(['a:16[0 MASTER LIVE, 1 SLAVE LIVE]']);
    expect(shown('deleted at the master')).toEqual([]);
  });

  test('remains while only slaves are there', () => {
    table.put(broker('a', 0), [serving('t')]);
    table.put(broker('a', 1), [serving('t')]);
    table.remove('a/0');
    expect(shown('t')).toEqual(['a:4[1 SLAVE LIVE]']);
  });

  test('has one master: the one of the highest epoch, and no writes to a deposed one', () => {
    table.put(broker('a', 0, { epoch: 3n }), [serving('t', 4)]);
    table.put(broker('a', 1, { epoch: 4n, role: MASTER }), [serving('t', 5)]);
    expect(shown('t')).toEqual(['a:5[0 SLAVE SUSPECT, 1 MASTER LIVE]']);
    table.remove('a/1');
    expect(shown('t')).toEqual(['a:4[0 MASTER LIVE]']);
  });
});

describe('a change returns the topics whose routes it may have changed', () => {
  test('a registration: what was served before and what is served now', () => {
    table.put(broker('a', 0), [serving('x'), serving('y')]);
    expect(table.put(broker('a', 0), [serving('y'), serving('z')])).toEqual(
      new Set(['x', 'y', 'z']),
    );
    expect(table.topicCount).toBe(2);
  });

  test('a state or role: all topics of the group', () => {
    table.put(broker('a', 0), [serving('x')]);
    table.put(broker('a', 1), [serving('y')]);
    table.put(broker('b', 0), [serving('z')]);
    expect(table.setState('a/1', SUSPECT)).toEqual(new Set(['x', 'y']));
    expect(shown('x')).toEqual(['a:4[0 MASTER LIVE, 1 SLAVE SUSPECT]']);
  });

  test('topics: those that are really different', () => {
    table.put(broker('a', 0), [serving('x'), serving('y')]);
    const changed = table.changeTopics('a/0', [serving('x'), serving('n', 1)], ['y', 'never was']);
    expect(changed).toEqual(new Set(['n', 'y']));
    expect(shown('n')).toEqual(['a:1[0 MASTER LIVE]']);
  });
});

test('after any changes the table equals one that was built anew', () => {
  const key = fc.record({ name: fc.constantFrom('a', 'b'), id: fc.integer({ min: 0, max: 2 }) });
  const names = fc.uniqueArray(fc.constantFrom('t', 'u', 'v', 'w'));
  const change = fc.record({
    what: fc.constantFrom('put', 'remove', 'topics', 'state'),
    key,
    names,
    removed: names,
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const model = new Map<string, { name: string; id: number; topics: Set<string> }>();
      const before = new Map<string, string>();
      table = new RouteTable();
      for (const { what, key, names, removed } of changes) {
        const text = brokerKey(key);
        const member = model.get(text);
        let affected = new Set<string>();
        if (what === 'put') {
          affected = table.put(
            broker(key.name, key.id),
            names.map((name) => serving(name)),
          );
          model.set(text, { ...key, topics: new Set(names) });
        } else if (member === undefined) {
          continue;
        } else if (what === 'remove') {
          affected = table.remove(text);
          model.delete(text);
        } else if (what === 'topics') {
          affected = table.changeTopics(
            text,
            names.map((name) => serving(name)),
            removed,
          );
          for (const name of names) member.topics.add(name);
          for (const name of removed) member.topics.delete(name);
        } else {
          affected = table.setState(text, LIVE);
        }

        const anew = new RouteTable();
        for (const { name, id, topics } of model.values()) {
          anew.put(
            broker(name, id),
            [...topics].map((topic) => serving(topic)),
          );
        }
        expect([...table.topics()].sort()).toEqual([...anew.topics()].sort());
        for (const topic of ['t', 'u', 'v', 'w']) {
          expect(table.route(topic)).toEqual(anew.route(topic));
          const now = JSON.stringify(shown(topic));
          // Whatever has changed was announced.
          if (now !== (before.get(topic) ?? '[]')) expect(affected).toContain(topic);
          before.set(topic, now);
        }
      }
    }),
  );
});
