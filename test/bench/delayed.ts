// `npm run bench:delayed`: how many delayed messages a second are accepted, what a million that wait cost in memory, how
// long it takes to deliver 100,000 that fall due in the same second, and how late they are.
//
//   npm run bench:delayed -- [--seconds S] [--pending N]

import { parseArgs } from 'node:util';
import { Client } from '@ternmq/sdk';
import { ChildBroker } from '../support/child-broker.ts';
import { eventually } from '../support/eventually.ts';
import { TempDir } from '../support/temp-dir.ts';
import { runLoad } from './run.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    pending: { type: 'string', default: '1000000' },
  },
});
const FRAMES = ['--size', '128', '--batch', '256', '--in-flight', '64'];
const DUE = 100_000;
const DUE_AFTER_MS = 10_000;
const IDLE_MS = 8000;

async function metric(broker: ChildBroker, name: string): Promise<number> {
  const page = await (await fetch(broker.page('/metrics'))).text();
  return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)`, 'm').exec(page)?.[1]);
}

await using folder = await TempDir.create('delayed');
await using broker = await ChildBroker.start({ command: 'start', data: folder.path });
await using client = new Client({ nameservers: broker.nameserver });
await client.admin.createTopic('delayed', { queues: 4 });
const produce = (...args: string[]) =>
  runLoad(broker.nameserver, ['produce', '--topic', 'delayed', ...FRAMES, ...args]);

const plain = await produce('--seconds', values.seconds);
const accepted = await produce('--delay', '1h', '--seconds', values.seconds);
const share = accepted.messagesPerSecond / plain.messagesPerSecond;
console.log(
  `accepted ${Math.round(accepted.messagesPerSecond)} delayed messages/s for ${values.seconds} s; plain ones ${Math.round(plain.messagesPerSecond)}/s (${share.toFixed(2)})`,
);
await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
const before = await metric(broker, 'process_resident_memory_bytes');
const already = await metric(broker, 'rocketmq_timing_messages');
await produce('--delay', '2h', '--messages', values.pending);
await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
const after = await metric(broker, 'process_resident_memory_bytes');
console.log(
  `${already} waited, and ${values.pending} more: ${Math.round(before / 2 ** 20)} MiB -> ${Math.round(after / 2 ** 20)} MiB`,
);

await produce('--delay', `${DUE_AFTER_MS}ms`, '--messages', `${DUE}`);
const released = await metric(broker, 'rocketmq_timer_dequeue_total');
const first = await eventually(
  'the first is delivered',
  async () =>
    (await metric(broker, 'rocketmq_timer_dequeue_total')) > released
      ? performance.now()
      : undefined,
  { withinMs: 60_000, everyMs: 5 },
);
await eventually(
  'all are delivered',
  async () => (await metric(broker, 'rocketmq_timer_dequeue_total')) >= released + DUE || undefined,
  { withinMs: 60_000, everyMs: 5 },
);
console.log(`delivered ${DUE} in ${((performance.now() - first) / 1000).toFixed(2)} s`);
const begin = performance.now();
await broker.kill();
console.log(
  `restart after kill -9 to serving: ${Math.round(await broker.restart())} ms (${Math.round(performance.now() - begin)} with the kill)`,
);
console.log(`waiting after the restart: ${await metric(broker, 'rocketmq_timing_messages')}`);
await client.close();
