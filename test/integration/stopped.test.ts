import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { isMqError } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';
import { sendKeyed } from '../support/keyed-messages.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 10_000, everyMs: 5 };
const ordered = { from: 'first', ordered: true } as const;

/** A broker that has just started may not be reached at once. */
function unavailable(error: unknown): undefined {
  if (!isMqError(error) || !error.retryable) throw error;
}

describe('an ordered group', () => {
  test('that stops keeps the key back after the last delivery, says so, and goes on when it is released', async () => {
    await sendKeyed(cluster.client(), ['k', 'l'], 3);
    const client = cluster.client();
    await client.admin.createGroup('g', {
      ordered: true,
      exhausted: 'stop',
      attemptsMax: 1,
      retryDelaysMs: [1000],
    });
    const handled: string[] = [];
    let healthy = false;
    const consumer = client.consumer('g', ordered).subscribe('t');
    consumer.run((message) => {
      handled.push(message.text());
      if (message.text() === 'k-0' && !healthy) throw new Error('not yet');
    });
    const [stopped] = await eventually(
      'it is stopped',
      async () => {
        const { stopped } = await client.admin.describeGroup('g');
        return stopped.length > 0 ? stopped : undefined;
      },
      within,
    );
    expect(stopped).toMatchObject({ topic: 't', queueId: 0, offset: 0, attempts: 1 });
    expect(await client.admin.listStopped('g')).toEqual([stopped]);
    const { progress } = await client.admin.describeGroup('g');
    expect(progress[0]?.stopped).toBe(1);
    await eventually('the other key goes on', () => handled.includes('l-2') || undefined, within);
    await cluster.pass(60_000);
    expect(handled.filter((text) => text.startsWith('k'))).toEqual(['k-0']);
    await cluster.restartBroker();
    const still = await eventually(
      'the broker answers',
      async () => (await client.admin.describeGroup('g').catch(unavailable))?.stopped,
      within,
    );
    expect(still).toEqual([stopped]);
    healthy = true;
    await client.admin.releaseStopped('g', stopped as NonNullable<typeof stopped>);
    await eventually(
      'the key goes on',
      async () => {
        await cluster.pass(500);
        return handled.includes('k-2') || undefined;
      },
      within,
    );
    expect(handled.filter((text) => text.startsWith('k'))).toEqual(['k-0', 'k-0', 'k-1', 'k-2']);
    const again = client.admin.releaseStopped('g', stopped as NonNullable<typeof stopped>);
    await expect(again).rejects.toMatchObject({ code: 'NOT_STOPPED' });
    expect(await client.admin.listStopped('g')).toEqual([]);
  });

  test('lists what is stopped by topic, queue and offset, page by page, and gives it up when told to', async () => {
    const { admin } = cluster.client();
    await sendKeyed(cluster.client(), ['k', 'l', 'm'], 2);
    await admin.createTopic('s', { queues: 1 });
    await cluster.client().producer().send('s', { body: 'n-0', orderingKey: 'n' });
    await admin.createGroup('g', { ordered: true, exhausted: 'stop', attemptsMax: 1 });
    const consumer = cluster.client().consumer('g', ordered).subscribe('t').subscribe('s');
    const handled: string[] = [];
    consumer.run((message) => {
      handled.push(message.text());
      if (message.text().endsWith('-0')) throw new Error('never');
    });
    await eventually(
      'all are stopped',
      async () => (await admin.listStopped('g')).length === 4 || undefined,
      within,
    );
    expect(handled.toSorted()).toEqual(['k-0', 'l-0', 'm-0', 'n-0']);
    using raw = new BrokerClient(`127.0.0.1:${cluster.broker.port}`);
    const places: string[] = [];
    for (let pageToken = '', pages = 0; pages === 0 || pageToken !== ''; pages++) {
      const page = await raw.call(BrokerService.method.listStopped, {
        group: 'g',
        pageSize: 3,
        pageToken,
      });
      places.push(...page.stopped.map(({ topic, offset }) => `${topic} ${offset}`));
      expect(page.stopped.length).toBeLessThanOrEqual(3);
      pageToken = page.nextPageToken;
    }
    expect(places).toEqual(['s 0', 't 0', 't 1', 't 2']);
    const wrong = { group: 'g', pageToken: 'no such place' };
    await expect(raw.call(BrokerService.method.listStopped, wrong)).rejects.toThrow(/page_token/);

    const [first] = (await admin.listStopped('g')).filter(({ topic }) => topic === 't');
    await admin.releaseStopped('g', first as NonNullable<typeof first>, { deadLetter: true });
    await eventually('its key goes on', () => handled.includes('k-1') || undefined, within);
    const [letter] = await admin.listDeadLetters({ group: 'g' });
    expect(letter?.origin).toMatchObject({ topic: 't', offset: 0 });
  });
});
