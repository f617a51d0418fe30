// Known bugs that can be planted, each as a change of the source while it is loaded. A harness that finds none of them
// proves nothing by being green.

/** A known bug. */
export interface Canary {
  /** What is wrong with it. */
  readonly what: string;
  /** The file that it is in, below the root. */
  readonly file: string;
  /** What stands there, exactly once. */
  readonly find: string;
  /** What is put in its place. */
  readonly replace: string;
}

const LOG = 'services/broker/src/log';
const REPLICATION = 'services/broker/src/replication';
const ETCD = 'services/broker/src/coordination/etcd-coordinator.ts';

/** All of them, by name. */
export const CANARIES: Readonly<Record<string, Canary>> = {
  'ack-before-durable': {
    what: 'a master counts what it has written as what is on its disk',
    file: `${LOG}/commit-log.ts`,
    find: 'return this.#syncs ? this.#durable : this.#written;',
    replace: 'return this.#written;',
  },
  'slave-acks-early': {
    what: 'a slave acknowledges what it has written before it is on its disk',
    file: `${REPLICATION}/following.ts`,
    find: 'this.#link?.durable(log.durable);',
    replace: 'this.#link?.durable(log.next);',
  },
  'no-slave-waited-for': {
    what: 'the confirmed position does not wait for the in-sync members',
    file: `${REPLICATION}/in-sync-set.ts`,
    find: 'if (this.#set.includes(id) || this.#asked?.includes(id)) least = Math.min(least, durable);',
    replace: 'void id;',
  },
  'confirmed-ignored': {
    what: 'what is visible does not wait for what is confirmed',
    file: `${LOG}/commit-log.ts`,
    find: 'return Math.min(this.ownVisible, this.#confirmed);',
    replace: 'return this.ownVisible;',
  },
  'set-not-swapped': {
    what: 'a master takes members out of the in-sync set without the coordinator',
    file: `${REPLICATION}/replicas.ts`,
    find: 'await this.#coordinator.setInSync(epoch, change.from, change.to);',
    replace: 'await Promise.resolve();',
  },
  'anyone-leads': {
    what: 'a member leads that is not in the in-sync set',
    file: ETCD,
    find: 'if (state !== undefined && !state.inSync.includes(id)) return undefined;',
    replace: '',
  },
  'lost-folder-leads': {
    what: 'a member that comes back with an empty folder stays in the in-sync set',
    file: ETCD,
    find: 'const other = before !== undefined && before !== folder;',
    replace: 'const other = false;',
  },
  'damage-keeps-its-place': {
    what: 'a member cuts off what is damaged and stays in the in-sync set',
    file: 'services/broker/src/roles.ts',
    find: 'if (damaged || common === undefined) await this.#modules.coordinator.leaveInSync();',
    replace: '',
  },
  'epoch-used-again': {
    what: 'a leadership takes the number of the one before',
    file: ETCD,
    find: 'const epoch = Math.max(state?.epoch ?? 0, epochMin) + 1;',
    replace: 'const epoch = Math.max(state?.epoch ?? 0, epochMin, 1);',
  },
  'divergence-ignored': {
    what: 'a slave follows without cutting what its master never had',
    file: `${REPLICATION}/following.ts`,
    find: 'if (common !== log.next) {',
    replace: 'if (common === undefined) {',
  },
  'cut-below-watermark': {
    what: 'damage below what was durable is taken for a torn tail, and cut',
    file: `${LOG}/recover-log.ts`,
    find: 'durable: watermark.position,',
    replace: 'durable: 0,',
  },
  'damage-forgotten': {
    what: 'a restart forgets that the log is damaged',
    file: `${LOG}/known-damage.ts`,
    find: 'bytes === undefined ? [] : (JSON.parse(bytes.toString()) as CorruptRange[]);',
    replace: '[] as CorruptRange[];',
  },
  'sequence-ignored': {
    what: 'a frame that comes again is stored again',
    file: 'services/broker/src/grpc/append-frame.ts',
    find: 'if (sequence === next) return 0;',
    replace: 'if (sequence <= next) return 0;',
  },
};
