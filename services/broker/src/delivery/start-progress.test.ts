import { ManualClock } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { CoreRig, coreDisk } from '../../../../test/support/core-rig.ts';
import { groupSettings } from '../state/groups.ts';
import { MEMBERS_MAX } from './start-progress.ts';

test('a group has so many broadcasting members in a topic, and is told what to do about more', async () => {
  const rig = await CoreRig.open(coreDisk(), new ManualClock());
  try {
    const topic = rig.topics.create('t', { queues: 1 });
    const other = rig.topics.create('other', { queues: 1 });
    const group = rig.groups.create('g', groupSettings(undefined));
    await rig.delivery.begin(group, topic, '', undefined);
    for (let i = 0; i < MEMBERS_MAX; i++) {
      await rig.delivery.begin(group, topic, `member-${i}`, undefined);
    }
    await expect(rig.delivery.begin(group, topic, 'more', undefined)).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      reason: 'TOO_MANY_MEMBERS',
      message: expect.stringContaining('tern group forget'),
    });
    const known = await rig.delivery.begin(group, topic, 'member-7', undefined);
    expect(known.consumerId).toBe('member-7');
    await rig.delivery.begin(group, other, 'more', undefined);
  } finally {
    await rig.kill();
  }
});
