// AssignQueues: the stream of a member that pulls and shares queues. The first message joins, the end of the stream
// leaves; between, the broker tells the queues and the member what it has let go of.
//
//   waiting for `open` -> in -> out

import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  type AssignmentOpening,
  AssignmentStrategy,
  type AssignQueuesRequest,
  type AssignQueuesResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { failStream, type Random, TernError } from '@ternmq/runtime';
import type { Assignments } from '../assignment/assignments.ts';
import type { Member, QueueAssignment } from '../assignment/queue-assignment.ts';
import { strategyName } from '../assignment/strategies.ts';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { type Group, generationOf, queueProgress, type TopicProgress } from '../state/groups.ts';
import { nextKept } from '../state/kept-messages.ts';
import type { Topic } from '../state/topics.ts';
import { checkConsumerId } from './subscribe.ts';

type Call = ServerDuplexStream<AssignQueuesRequest, AssignQueuesResponse>;

/** Sessions are below this. */
const SESSIONS = Number.MAX_SAFE_INTEGER;
const ROOM = /^[a-zA-Z0-9_-]{1,127}$/;

/** What the streams use. */
export interface AssignModules {
  readonly topics: TopicCatalog;
  readonly groups: GroupCatalog;
  readonly delivery: Delivery;
  readonly assignments: Assignments;
  readonly state: BrokerState;
  readonly random: Random;
}

/** The RPC. Its streams end when `closing` aborts. */
export function assignQueues(
  modules: AssignModules & { readonly closing: AbortSignal },
): (call: Call) => void {
  const streams = new Set<AssignStream>();
  const { closing } = modules;
  closing.addEventListener('abort', () => {
    for (const stream of [...streams]) stream.fail(closing.reason);
  });
  return (call) => {
    const stream = new AssignStream(call, modules, () => streams.delete(stream));
    streams.add(stream);
  };
}

/** One member's stream. */
class AssignStream implements Member {
  id = '';
  room = '';
  readonly address: string;
  readonly session: number;
  readonly #call: Call;
  readonly #modules: AssignModules;
  readonly #closed: () => void;
  #opening = false;
  #seat:
    | { group: Group; topic: Topic; progress: TopicProgress; assignment: QueueAssignment }
    | undefined;
  /** What the member is to know and was not told yet, because its connection is clogged; only the newest counts. */
  #untold: { generation: number; queueIds: readonly number[] } | undefined;
  #clogged = false;
  #over = false;

  constructor(call: Call, modules: AssignModules, closed: () => void) {
    this.#call = call;
    this.#modules = modules;
    this.#closed = closed;
    this.address = call.getPeer();
    this.session = 1 + modules.random.integer(SESSIONS - 1);
    call.on('data', (request: AssignQueuesRequest) => {
      this.#take(request).catch((error: unknown) => this.fail(error));
    });
    call.on('drain', () => {
      this.#clogged = false;
      this.#send();
    });
    call.on('end', () => {
      this.#close();
      call.end();
    });
    call.on('cancelled', () => this.#close());
    call.on('error', () => this.#close());
    call.on('close', () => this.#close());
  }

  async #take({ open, releasedGeneration }: AssignQueuesRequest): Promise<void> {
    if (open !== undefined) {
      if (this.#opening) {
        throw new TernError(
          'INVALID_ARGUMENT',
          'ALREADY_OPEN',
          'only the first message of the stream may join; open another stream',
        );
      }
      this.#opening = true;
      await this.#join(open);
    }
    if (!this.#opening) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'NOT_OPEN',
        'the first message of the stream must join',
      );
    }
    if (releasedGeneration > 0n) {
      this.#seat?.assignment.released(this, Number(releasedGeneration));
    }
  }

  async #join(opening: AssignmentOpening): Promise<void> {
    const { topics, groups, delivery, assignments } = this.#modules;
    checkConsumerId(opening.consumerId);
    const strategy = opening.strategy || AssignmentStrategy.AVERAGE;
    checkStrategy(strategy, opening.room);
    const topic = topics.get(opening.topic);
    const group = groups.getOrCreate(opening.group);
    const progress = await delivery.begin(group, topic, '', opening.from?.target);
    if (this.#over) return;
    this.id = opening.consumerId;
    this.room = opening.room;
    const assignment = assignments.join(group, topic, strategy, this);
    this.#seat = { group, topic, progress, assignment };
  }

  assigned(generation: number, queueIds: readonly number[]): void {
    this.#untold = { generation, queueIds };
    this.#send();
  }

  #send(): void {
    if (this.#over || this.#clogged || this.#untold === undefined || this.#seat === undefined) {
      return;
    }
    const { topic, progress } = this.#seat;
    const { generation, queueIds } = this.#untold;
    this.#untold = undefined;
    const { state } = this.#modules;
    this.#clogged = !this.#call.write({
      $typeName: 'ternmq.broker.v1.AssignQueuesResponse',
      generation: BigInt(generation),
      queues: topic.queues
        .filter(({ queueId }) => queueIds.includes(queueId))
        .map((queue) => {
          const { floor } = queueProgress(progress, queue.queueId);
          const offset = nextKept(state, queue, floor);
          return {
            $typeName: 'ternmq.broker.v1.QueueOffset',
            queueId: queue.queueId,
            offset: BigInt(offset),
            generation: BigInt(generationOf(progress, queue.queueId)),
          };
        }),
      session: BigInt(this.session),
    });
  }

  fail(error: unknown): void {
    if (this.#over) return;
    this.#close();
    failStream(this.#call, error);
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#closed();
    const seat = this.#seat;
    if (seat !== undefined) this.#modules.assignments.leave(seat.group, seat.topic, this);
  }
}

function checkStrategy(strategy: AssignmentStrategy, room: string): void {
  if (strategyName(strategy) === undefined) {
    throw invalid('open.strategy', 'is not a strategy that this broker knows');
  }
  const needsRoom = strategy === AssignmentStrategy.MACHINE_ROOM;
  if (needsRoom && !ROOM.test(room)) {
    throw invalid('open.room', 'has 1 to 127 characters of [a-zA-Z0-9_-] with MACHINE_ROOM');
  }
  if (!needsRoom && room !== '') {
    throw invalid('open.room', 'is for MACHINE_ROOM; leave it out, or take that strategy');
  }
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field} ${description}`, {
    fields: [{ field, description }],
  });
}
