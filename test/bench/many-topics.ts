// `npm run bench:topics`: 10,000 topics of 4 queues against one topic on one broker: produce rate, restart, and what an
// idle queue costs in memory.
//
//   npm run bench:topics -- [--topics N] [--seconds S] [--rounds R]

import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Client, type FrameSender } from '@ternmq/sdk';
import { ChildBroker } from '../support/child-broker.ts';
import { TempDir } from '../support/temp-dir.ts';
import { showSpread, spreadOf } from './statistics.ts';

const { values } = parseArgs({
  options: {
    topics: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
  },
});
const TOPICS = Number(values.topics);
const SECONDS = Number(values.seconds);
const QUEUES = 4;
const CREATE_IN_FLIGHT = 64;
const FRAME_MESSAGES = 64;
const FRAMES_IN_FLIGHT = 64;
const BODY_BYTES = 1024;
const IDLE_MS = 8000;

async function residentBytes(broker: ChildBroker): Promise<number> {
  const page = await (await fetch(broker.page('/metrics'))).text();
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(page)?.[1]);
}

/** Messages per second when frames go to these senders by turns. */
async function rate(senders: readonly FrameSender[]): Promise<number> {
  const bodies = Array.from({ length: FRAME_MESSAGES }, () => randomBytes(BODY_BYTES));
  const begin = performance.now();
  const end = begin + SECONDS * 1000;
  let sent = 0;
  let stored = 0;
  let turn = 0;
  await new Promise<void>((resolve, reject) => {
    const fill = (): void => {
      while (performance.now() < end && sent - stored < FRAMES_IN_FLIGHT) {
        const sender = senders[turn++ % senders.length] as FrameSender;
        sent++;
        sender.write(sender.encode(bodies), (error) => {
          if (error !== undefined) return reject(error);
          stored++;
          if (sent === stored && performance.now() >= end) resolve();
          else fill();
        });
      }
    };
    fill();
  });
  return (stored * FRAME_MESSAGES * 1000) / (performance.now() - begin);
}

await using folder = await TempDir.create('topics');
await using broker = await ChildBroker.start({ command: 'start', data: folder.path });
await using client = new Client({ nameservers: broker.nameserver });
await client.admin.createTopic('one', { queues: QUEUES });
await new Promise((resolve) => setTimeout(resolve, 1000));
const before = await residentBytes(broker);

const createBegin = performance.now();
let next = 0;
const create = async (): Promise<void> => {
  for (let i = next++; i < TOPICS; i = next++) {
    await client.admin.createTopic(`topic-${i}`, { queues: QUEUES });
  }
};
await Promise.all(Array.from({ length: CREATE_IN_FLIGHT }, create));
console.log(
  `created ${TOPICS} topics in ${((performance.now() - createBegin) / 1000).toFixed(1)} s`,
);
await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
const idle = await residentBytes(broker);
console.log(
  `idle: ${Math.round(idle / 2 ** 20)} MiB, ${Math.round((idle - before) / (TOPICS * QUEUES))} bytes a queue`,
);

const producer = client.producer();
const one = [await producer.frames('one')];
const many: FrameSender[] = [];
for (let i = 0; i < TOPICS; i++) many.push(await producer.frames(`topic-${i}`));
const ratios: number[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const single = await rate(one);
  const spread = await rate(many);
  ratios.push(spread / single);
  console.log(`one topic ${Math.round(single)}/s, ${TOPICS} topics ${Math.round(spread)}/s`);
}
console.log(`${TOPICS} topics against one: ${showSpread(spreadOf(ratios))}`);
await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
console.log(`after the load: ${Math.round((await residentBytes(broker)) / 2 ** 20)} MiB`);

await client.close();
await broker.kill();
console.log(`restart after kill -9 to serving: ${Math.round(await broker.restart())} ms`);
console.log(`after the restart: ${Math.round((await residentBytes(broker)) / 2 ** 20)} MiB`);
