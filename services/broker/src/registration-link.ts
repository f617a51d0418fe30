// A broker's stream to one name server, opened again whenever it ends.
//
//                        +---------------- back-off is over ----------------+
//                        v                                                  |
//   (new) --------> connecting -- first answer --> registered               |
//                    |      |                          |                    |
//                    |      +-- refused with a reason --+--> refused -------+
//                    +-- no connection, no answer ------+--> lost ----------+
//                                                       |
//   any -- leave() --> left                             +-- stream ended, heartbeats unanswered
//
// Topic changes that do not fit into the stream now gather, the newest of each topic, until it drains. A
// stream that is opened again starts with everything, so nothing gathers while there is none.

import { create } from '@bufbuild/protobuf';
import {
  Client,
  type ClientDuplexStream,
  credentials,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import {
  type Broker,
  NameServerService,
  type RegisterBrokerRequest,
  RegisterBrokerRequest_HeartbeatSchema,
  RegisterBrokerRequestSchema,
  type RegisterBrokerResponse,
  type TopicQueues,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, openBidiStream, type Random, type Timer } from '@ternmq/runtime';

/** Where a link is. */
export type LinkState = 'connecting' | 'registered' | 'lost' | 'refused' | 'left';

/** What a link tells the name server. */
export interface LinkSource {
  /** The broker as it is now. */
  readonly broker: () => Broker;
  /** All topics that the broker serves now. */
  readonly topics: () => TopicQueues[];
}

/** Told of everything that happens to a link. */
export type LinkObserver = (state: LinkState, why: string) => void;

/** Time for a connection and the first answer. */
const ANSWER_TIMEOUT_MS = 5000;
/** Back-off grows from one to the other, by half at random each time. */
const BACK_OFF_MS_MIN = 100;
const BACK_OFF_MS_MAX = 3000;
/** A registration that did not hold so long counts as another failure: two brokers may be displacing each other. */
const STABLE_MS = 10_000;
/** Bounds on what a name server may ask for. */
const HEARTBEAT_MS_MIN = 10;
const HEARTBEAT_MS_MAX = 60_000;
/** Topics in one message: at most 7 MB, below what a name server receives. */
const TOPICS_PER_MESSAGE = 50_000;

/** Statuses with which a name server refuses what it was told, as opposed to being out of reach. */
const REFUSALS: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.FAILED_PRECONDITION,
  status.RESOURCE_EXHAUSTED,
  status.ABORTED,
  status.UNIMPLEMENTED,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
]);

interface Session {
  readonly client: Client;
  readonly call: ClientDuplexStream<RegisterBrokerRequest, RegisterBrokerResponse>;
  /** Changes that are not written yet, by topic; null for a topic that is gone. */
  readonly unsent: Map<string, TopicQueues | null>;
  /** Ends the stream when nothing is answered. */
  watchdog: Timer;
  heartbeat: Timer | undefined;
  registeredMs: number | undefined;
  full: boolean;
  ended: boolean;
}

/** A stream to one name server. */
export class RegistrationLink {
  readonly #address: string;
  readonly #source: LinkSource;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #observe: LinkObserver;
  #state: LinkState = 'connecting';
  #session: Session | undefined;
  #retry: Timer | undefined;
  #failures = 0;

  constructor(
    address: string,
    source: LinkSource,
    modules: { readonly clock: Clock; readonly random: Random; readonly observe: LinkObserver },
  ) {
    this.#address = address;
    this.#source = source;
    this.#clock = modules.clock;
    this.#random = modules.random;
    this.#observe = modules.observe;
  }

  /** Where the link is. */
  get state(): LinkState {
    return this.#state;
  }

  /** Opens the stream, and again whenever it ends. */
  open(): void {
    const broker = this.#source.broker();
    const topics = this.#source.topics();
    const client = new Client(this.#address, credentials.createInsecure(), {
      // A new client has to try at once, not when the back-off of an earlier one is over.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
    });
    const session: Session = {
      client,
      call: openBidiStream(client, NameServerService.method.registerBroker),
      unsent: new Map(topics.slice(TOPICS_PER_MESSAGE).map((queues) => [queues.topic, queues])),
      watchdog: this.#expectAnswer(ANSWER_TIMEOUT_MS),
      heartbeat: undefined,
      registeredMs: undefined,
      full: false,
      ended: false,
    };
    this.#session = session;
    const { call } = session;
    call.on('data', (answer: RegisterBrokerResponse) => this.#answered(session, answer));
    call.on('drain', () => {
      session.full = false;
      this.#send(session);
    });
    // The status says the same, and also comes when there is no error.
    call.on('error', () => {});
    call.on('status', (ended: StatusObject) => this.#ended(session, ended));
    this.#write(session, {
      case: 'registration',
      value: {
        $typeName: 'ternmq.nameserver.v1.RegisterBrokerRequest.Registration',
        broker,
        topics: topics.slice(0, TOPICS_PER_MESSAGE),
      },
    });
    this.#send(session);
  }

  /** Topics are new or have changed, or are gone. */
  topicsChanged(changed: readonly TopicQueues[], removed: readonly string[]): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const topic of removed) session.unsent.set(topic, null);
    for (const queues of changed) session.unsent.set(queues.topic, queues);
    this.#send(session);
  }

  /** The broker's role or epoch has changed. */
  brokerChanged(): void {
    const session = this.#session;
    if (session === undefined) return;
    const value = create(RegisterBrokerRequest_HeartbeatSchema, { broker: this.#source.broker() });
    this.#write(session, { case: 'heartbeat', value });
  }

  /** Says goodbye and closes; waits at most so many milliseconds for the name server. */
  async leave(timeoutMs: number): Promise<void> {
    this.#retry?.cancel();
    const session = this.#session;
    const registered = this.#state === 'registered';
    this.#move('left', 'the broker stops');
    if (session === undefined) return;
    session.heartbeat?.cancel();
    session.watchdog.cancel();
    await new Promise<void>((resolve) => {
      const giveUp = this.#clock.setTimer(timeoutMs, () => session.call.cancel());
      session.call.once('status', () => {
        giveUp.cancel();
        resolve();
      });
      if (registered) {
        this.#write(session, {
          case: 'heartbeat',
          value: create(RegisterBrokerRequest_HeartbeatSchema, { leaving: true }),
        });
        session.call.end();
      } else {
        session.call.cancel();
      }
    });
  }

  #answered(session: Session, answer: RegisterBrokerResponse): void {
    if (session.ended || this.#state === 'left') return;
    session.watchdog.cancel();
    session.watchdog = this.#expectAnswer(Math.max(answer.timeoutMs, HEARTBEAT_MS_MIN));
    if (session.heartbeat !== undefined) return;
    const intervalMs = Math.min(
      Math.max(answer.heartbeatIntervalMs, HEARTBEAT_MS_MIN),
      HEARTBEAT_MS_MAX,
    );
    session.heartbeat = this.#clock.every(intervalMs, () => this.#beat(session));
    session.registeredMs = this.#clock.monotonicMs();
    this.#move('registered', 'the name server has answered');
  }

  /** The stream is given up when nothing is answered in time; each answer starts the time anew. */
  #expectAnswer(timeoutMs: number): Timer {
    return this.#clock.setTimer(timeoutMs, () => this.#session?.call.cancel());
  }

  #ended(session: Session, ended: StatusObject): void {
    if (session.ended) return;
    session.ended = true;
    session.watchdog.cancel();
    session.heartbeat?.cancel();
    session.client.close();
    if (this.#session === session) this.#session = undefined;
    if (this.#state === 'left') return;
    const why = ended.details === '' ? status[ended.code] : ended.details;
    this.#move(REFUSALS.has(ended.code) ? 'refused' : 'lost', why);
    const heldMs = this.#clock.monotonicMs() - (session.registeredMs ?? Infinity);
    if (heldMs >= STABLE_MS) this.#failures = 0;
    this.#retry = this.#clock.setTimer(this.#backOffMs(), () => this.open());
  }

  #backOffMs(): number {
    const delayMs = Math.min(BACK_OFF_MS_MIN * 2 ** this.#failures, BACK_OFF_MS_MAX);
    this.#failures = Math.min(this.#failures + 1, 16);
    return delayMs * (1 - this.#random.next() / 2);
  }

  #beat(session: Session): void {
    // A stream that does not drain has heartbeats enough in it.
    if (session.full) return;
    this.#write(session, {
      case: 'heartbeat',
      value: create(RegisterBrokerRequest_HeartbeatSchema),
    });
  }

  /** Writes what is unsent, as far as the stream takes it. */
  #send(session: Session): void {
    while (session.unsent.size > 0 && !session.full && !session.ended) {
      const heartbeat = create(RegisterBrokerRequest_HeartbeatSchema);
      let count = 0;
      for (const [topic, queues] of session.unsent) {
        if (count++ === TOPICS_PER_MESSAGE) break;
        session.unsent.delete(topic);
        if (queues === null) heartbeat.removedTopics.push(topic);
        else heartbeat.changedTopics.push(queues);
      }
      this.#write(session, { case: 'heartbeat', value: heartbeat });
    }
  }

  #write(session: Session, event: RegisterBrokerRequest['event']): void {
    if (session.ended) return;
    session.full = !session.call.write(create(RegisterBrokerRequestSchema, { event }));
  }

  #move(state: LinkState, why: string): void {
    this.#state = state;
    this.#observe(state, why);
  }
}
