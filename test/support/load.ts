// A process that sends or consumes through the SDK and writes a ledger of it: `node load.ts OPTIONS`, with
// LoadOptions as JSON. Writes `running` once the first message has passed. The end of its standard input
// tells it to finish: it waits for what is under way, completes the ledger and ends.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, isMqError, type Producer, type Receipt } from '@ternmq/sdk';
import { type LedgerEvent, LedgerWriter } from './ledger-event.ts';
import { type LoadOptions, RUNNING } from './load-process.ts';
import { bodyOf, digestOf, nameIn } from './message-body.ts';

const BODY_BYTES = 512;
/** Messages of one producer that wait for their outcome. */
const UNDER_WAY_MAX = 512;
/** Every second message has one of so many ordering keys, for each producer. */
const ORDERING_KEYS = 16;
const SLICE_MS = 20;
/** Longer than a broker is away in any test, so that its return and not our patience decides. */
const SEND_MS_MAX = 60_000;
const DRAIN_MS_MAX = 60_000;

/** Codes that say that the broker refused the message and stored nothing of it. */
const REFUSALS = new Set([
  'BODY_EMPTY',
  'BODY_TOO_LARGE',
  'DISK_FULL',
  'INVALID_KEY',
  'INVALID_ORDERING_KEY',
  'INVALID_TAG',
  'MALFORMED_FRAME',
  'PROPERTIES_TOO_LARGE',
  'QUEUE_NOT_FOUND',
  'SEQUENCE_GAP',
  'TOPIC_NOT_FOUND',
]);

type ProduceOptions = Extract<LoadOptions, { role: 'produce' }>;
type ConsumeOptions = Extract<LoadOptions, { role: 'consume' }>;

const options: LoadOptions = JSON.parse(process.argv[2] ?? '{}');
const ledger = new LedgerWriter(options.ledger);
const finishing = new AbortController();
process.stdin.resume().once('end', () => finishing.abort());
// Lives until everything has its outcome. That the SDK sees to this by itself is e2e/pending-send's to judge.
setInterval(() => {}, 60_000);

let running = false;
function tell(event: LedgerEvent): void {
  ledger.write(event);
  if (running || (event.kind !== 'ack' && event.kind !== 'received')) return;
  running = true;
  console.log(RUNNING);
}

/** One producer: sends with many messages under way, until it is told to finish. */
async function produce(producer: number, sender: Producer, to: ProduceOptions): Promise<void> {
  const underWay = new Set<Promise<void>>();
  const sliceMessages = to.perSecond && (to.perSecond * SLICE_MS) / 1000 / to.producers;
  for (let id = 0; !finishing.signal.aborted; id++) {
    const body = bodyOf({ producer, id }, to.bytes ?? BODY_BYTES);
    const key = id % 2 === 0 ? 0 : 1 + (((id - 1) / 2) % ORDERING_KEYS);
    tell({ kind: 'intent', producer, id, digest: digestOf(body), key });
    const message = key === 0 ? { body } : { body, orderingKey: `${producer}/${key}` };
    const stored = ({ queueId: queue, offset }: Receipt) =>
      tell({ kind: 'ack', producer, id, queue, offset });
    const failed = (error: unknown) => {
      const refused = isMqError(error) && REFUSALS.has(error.code);
      if (!refused) console.error(`producer ${producer} message ${id}: ${error}`);
      tell({ kind: refused ? 'fail' : 'unknown', producer, id });
    };
    const sent = sender
      .send(to.topic, message, { deadlineMs: SEND_MS_MAX })
      .then(stored, failed)
      .finally(() => underWay.delete(sent));
    underWay.add(sent);
    if (underWay.size >= UNDER_WAY_MAX) await Promise.race(underWay);
    if (sliceMessages && id % Math.ceil(sliceMessages) === 0) await sleep(SLICE_MS);
  }
  await Promise.all(underWay);
}

/** A member of a group: acknowledges whatever it gets, until it is told to finish. */
async function consume(client: Client, from: ConsumeOptions): Promise<void> {
  const consumer = client.consumer(from.group, { from: 'first' }).subscribe(from.topic);
  const run = consumer.run(({ body, queueId: queue, offset }) => {
    const { reader } = from;
    tell({ kind: 'received', reader, ...nameIn(body), queue, offset, digest: digestOf(body) });
  });
  // A refused subscription ends it before its time, and the process with an error.
  if (!finishing.signal.aborted) await Promise.race([run.ended, once(finishing.signal, 'abort')]);
  await consumer.close({ drainMs: DRAIN_MS_MAX });
}

const client = new Client({
  nameservers: options.nameserver,
  onEvent: (event) => {
    if (event.type.endsWith('Failed')) console.error(event);
  },
});
if (options.role === 'consume') await consume(client, options);
else {
  const { producers } = options;
  await Promise.all(
    Array.from({ length: producers }, (_, index) => produce(index, client.producer(), options)),
  );
}
await client.close();
ledger.close();
// Sockets that are still closing do not hold the process.
process.exit();
