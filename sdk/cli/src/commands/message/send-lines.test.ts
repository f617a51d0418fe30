import type { OutgoingMessage, Producer, SendOutcome } from '@ternmq/sdk';
import { expect, test } from 'vitest';
import { sendLines } from './send-lines.ts';

/** Takes everything but bodies that hold `bad`. */
function fakeProducer(): Pick<Producer, 'sendBatch'> & {
  sent: OutgoingMessage[];
  mostAtOnce: number;
} {
  let atOnce = 0;
  return {
    sent: [],
    mostAtOnce: 0,
    async sendBatch(_topic, messages) {
      this.mostAtOnce = Math.max(this.mostAtOnce, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce--;
      this.sent.push(...messages);
      return messages.map(({ body }, offset): SendOutcome => {
        if (String(body).includes('bad')) return { status: 'failed', error: new Error('refused') };
        const receipt = { messageId: '', broker: 'a', queueId: 0, offset, duplicate: false };
        return { status: 'stored', receipt };
      });
    },
  };
}

async function* lines(...texts: string[]): AsyncGenerator<Buffer[]> {
  yield texts.map((text) => Buffer.from(text));
}

const REST = { topic: 't', format: 'text', common: {}, deadlineMs: 1000 } as const;

test('every line is sent once, in order, and many batches travel at the same time', async () => {
  const producer = fakeProducer();
  const texts = Array.from({ length: 20_000 }, (_, index) => `line ${index}`);
  const { sent, firstError } = await sendLines(
    producer,
    { ...REST, lines: lines(...texts) },
    () => {},
  );
  expect(producer.sent.map(({ body }) => String(body))).toEqual(texts);
  expect(sent).toMatchObject({ messages: 20_000, failed: 0, skipped: 0 });
  expect(firstError).toBeUndefined();
  expect(producer.mostAtOnce).toBe(16);
});

test('lines that fail are counted and the first of them told with their numbers', async () => {
  const warnings: string[] = [];
  const { sent, firstError } = await sendLines(
    fakeProducer(),
    { ...REST, lines: lines('good', 'bad', '', 'bad', 'bad', 'bad', 'good') },
    (text) => warnings.push(text),
  );
  expect(sent).toMatchObject({ messages: 2, failed: 4, skipped: 1 });
  expect(firstError?.message).toBe('refused');
  expect(warnings).toEqual(['line 2: refused\n', 'line 4: refused\n', 'line 5: refused\n']);
});

test('what a JSON line says wins over what all have', async () => {
  const producer = fakeProducer();
  const common = { tag: 'all', orderingKey: 'o' };
  const { sent } = await sendLines(
    producer,
    { ...REST, format: 'json', common, lines: lines('{"body":"x","tag":"own"}', '{"nobody":1}') },
    () => {},
  );
  expect(producer.sent).toEqual([{ body: 'x', tag: 'own', orderingKey: 'o' }]);
  expect(sent).toMatchObject({ messages: 1, failed: 1 });
});
