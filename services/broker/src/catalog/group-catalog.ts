// The consumer groups as applications and operators see them.

import { TernError } from '@ternmq/runtime';
import { type Group, type GroupSettings, groupMessage } from '../state/groups.ts';
import type { StateLog } from '../state/state-log.ts';
import { isTopicName } from './names.ts';
import { checkRetrySettings } from './retry-policy.ts';

/** Most groups of a broker. */
export const GROUPS_MAX = 100_000;

const DEFAULTS: GroupSettings = {
  attemptsMax: 0,
  retryDelaysMs: [],
  leaseMs: 0,
  ordered: false,
  stops: false,
};

/** The consumer groups of a broker. */
export class GroupCatalog {
  readonly #options: { readonly autoCreateGroups: boolean };
  readonly #stateLog: StateLog;

  /** @param options.autoCreateGroups create a group when its first consumer comes */
  constructor(options: { readonly autoCreateGroups: boolean }, modules: { stateLog: StateLog }) {
    this.#options = options;
    this.#stateLog = modules.stateLog;
  }

  /** The group of a name. Throws NOT_FOUND (GROUP_NOT_FOUND). */
  get(name: string): Group {
    const group = this.#stateLog.state.groups.find(name);
    if (group !== undefined) return group;
    throw new TernError(
      'NOT_FOUND',
      'GROUP_NOT_FOUND',
      isTopicName(name)
        ? `there is no consumer group ${name} on this broker; its first consumer creates it`
        : 'there is no such consumer group: a group has 1 to 127 characters of [%|a-zA-Z0-9_-]',
      { metadata: isTopicName(name) ? { group: name } : {} },
    );
  }

  /**
   * The group of a name, created when it does not exist and groups are created automatically. Throws NOT_FOUND,
   * FAILED_PRECONDITION (GROUP_ORDER_MISMATCH).
   *
   * @param ordered what its consumer counts on; absent when it takes the group as it is
   */
  getOrCreate(name: string, ordered?: boolean): Group {
    const group = this.#stateLog.state.groups.find(name);
    if (group === undefined) {
      if (!this.#options.autoCreateGroups && isTopicName(name)) return this.get(name);
      return this.create(name, { ...DEFAULTS, ordered: ordered ?? false });
    }
    if (ordered === undefined || ordered === group.settings.ordered) return group;
    throw new TernError(
      'FAILED_PRECONDITION',
      'GROUP_ORDER_MISMATCH',
      `group ${name} is ${ordered ? 'not ' : ''}ordered, and its consumer counts on the opposite; ` +
        `change one of them, the group with 'tern group update ${name} --ordered ${ordered}'`,
      { metadata: { group: name } },
    );
  }

  /** Creates a group. Throws INVALID_ARGUMENT, ALREADY_EXISTS (GROUP_EXISTS), RESOURCE_EXHAUSTED. */
  create(name: string, settings: GroupSettings): Group {
    const { groups } = this.#stateLog.state;
    if (!isTopicName(name)) {
      const description = 'a group has 1 to 127 characters of [%|a-zA-Z0-9_-]';
      throw new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `group: ${description}`, {
        fields: [{ field: 'group', description }],
      });
    }
    if (groups.find(name) !== undefined) {
      throw new TernError('ALREADY_EXISTS', 'GROUP_EXISTS', `there is a group ${name} already`, {
        metadata: { group: name },
      });
    }
    if (groups.size >= GROUPS_MAX) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_GROUPS',
        `this broker has ${GROUPS_MAX} groups, which is the limit; delete some`,
      );
    }
    return this.#put(name, groups.nextId, this.#stateLog.timeMs(), settings);
  }

  /**
   * Changes a group; zeros, an empty list and what is absent keep their values, and one way to pause takes the other's
   * place. Throws NOT_FOUND, INVALID_ARGUMENT.
   */
  update(name: string, settings: Partial<GroupSettings>): Group {
    const group = this.get(name);
    const { attemptsMax, retryDelaysMs = [], leaseMs, ordered, stops, retryBackoff } = settings;
    const pauses =
      retryDelaysMs.length > 0 || retryBackoff !== undefined
        ? { retryDelaysMs, retryBackoff }
        : group.settings;
    return this.#put(name, group.id, group.createdMs, {
      attemptsMax: attemptsMax || group.settings.attemptsMax,
      retryDelaysMs: pauses.retryDelaysMs,
      retryBackoff: pauses.retryBackoff,
      leaseMs: leaseMs || group.settings.leaseMs,
      ordered: ordered ?? group.settings.ordered,
      stops: stops ?? group.settings.stops,
    });
  }

  /** Deletes a group with its progress. Throws NOT_FOUND. */
  delete(name: string): void {
    const { id } = this.get(name);
    this.#stateLog.change({
      case: 'groupDeleted',
      value: { $typeName: 'ternmq.log.v1.GroupDeleted', groupId: id },
    });
  }

  #put(name: string, id: number, createdMs: number, settings: GroupSettings): Group {
    checkRetrySettings(settings);
    const blank = { id, name, createdMs, settings, progress: new Map() };
    this.#stateLog.change({ case: 'groupPut', value: groupMessage(blank) });
    return this.#stateLog.state.groups.findById(id) as Group;
  }
}
