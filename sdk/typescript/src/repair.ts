// What to do so that all broker groups have the same topics and consumer groups: creation and changes that only some of them have
// done leave them different.

import type {
  GroupDescription,
  GroupSettings,
  TopicDescription,
  TopicSettings,
} from './transport/descriptions.ts';

/** One step of a repair. */
export type Repair =
  | {
      readonly what: 'topic';
      readonly name: string;
      readonly broker: string;
      readonly action: 'create' | 'update';
      readonly settings: TopicSettings;
    }
  | {
      readonly what: 'group';
      readonly name: string;
      readonly broker: string;
      readonly action: 'create' | 'update';
      readonly settings: GroupSettings;
    };

interface Described<Settings> {
  readonly name: string;
  readonly broker: string;
  readonly settings: Settings;
  readonly createdMs: number;
}

interface Step<Settings> {
  readonly name: string;
  readonly broker: string;
  readonly action: 'create' | 'update';
  readonly settings: Settings;
}

/**
 * The steps, in order. Settings are those of the broker group that is named, where it has the thing, and else of the one that has
 * had it for longest; but a topic gets the most queues that it has anywhere, since their number never shrinks, and a setting
 * that is the broker's default there gets a value that it has elsewhere.
 *
 * @param brokers names of all broker groups
 * @param like the broker group that is right where settings differ
 */
export function repairsOf(
  brokers: readonly string[],
  topics: readonly TopicDescription[],
  groups: readonly GroupDescription[],
  like?: string,
): Repair[] {
  const steps = [
    ...stepsFor(brokers, topics, like, topicWanted).map((step) => ({
      what: 'topic' as const,
      ...step,
    })),
    ...stepsFor(brokers, groups, like, ([right]) => right.settings).map((step) => ({
      what: 'group' as const,
      ...step,
    })),
  ];
  return steps;
}

function stepsFor<Settings>(
  brokers: readonly string[],
  described: readonly Described<Settings>[],
  like: string | undefined,
  wanted: (found: [Described<Settings>, ...Described<Settings>[]]) => Settings,
): Step<Settings>[] {
  const steps: Step<Settings>[] = [];
  for (const [name, all] of Map.groupBy(described, (one) => one.name)) {
    // The broker's own: it makes them where they are needed.
    if (name.startsWith('%')) continue;
    const found = all.toSorted(
      (a, b) =>
        Number(b.broker === like) - Number(a.broker === like) ||
        a.createdMs - b.createdMs ||
        (a.broker < b.broker ? -1 : 1),
    ) as [Described<Settings>, ...Described<Settings>[]];
    const settings = wanted(found);
    for (const broker of brokers) {
      const has = found.find((one) => one.broker === broker);
      if (has === undefined) steps.push({ name, broker, action: 'create', settings });
      else if (JSON.stringify(has.settings) !== JSON.stringify(settings)) {
        steps.push({ name, broker, action: 'update', settings });
      }
    }
  }
  return steps;
}

function topicWanted(
  found: [Described<TopicSettings>, ...Described<TopicSettings>[]],
): TopicSettings {
  const all = found.map(({ settings }) => settings);
  const [right] = all as [TopicSettings];
  // 0 and `any` say that nobody has said: a change keeps what is there.
  const said = (read: (settings: TopicSettings) => number | undefined): number =>
    all.map(read).find((value) => (value ?? 0) > 0) ?? 0;
  return {
    ...right,
    queues: Math.max(...all.map(({ queues }) => queues ?? 0)),
    retentionMs: said(({ retentionMs }) => retentionMs),
    retentionBytes: said(({ retentionBytes }) => retentionBytes),
    kind: all.map(({ kind }) => kind ?? 'any').find((kind) => kind !== 'any') ?? 'any',
  };
}
