// Pushes routes to watchers. What changes within one turn of the event loop travels together, and a watcher
// has one response in flight: while it does not read, changes gather as names (see RouteWatchers) and become
// one response when it does.

import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  type WatchRoutesRequest,
  type WatchRoutesResponse,
  WatchRoutesResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { failStream, TernError } from '@ternmq/runtime';
import { checkTopicNames } from '../routes/registration-check.ts';
import type { RouteTable } from '../routes/route-table.ts';
import {
  type RouteWatcher,
  RouteWatchers,
  type RouteWatchersOptions,
} from '../routes/route-watchers.ts';

type Call = ServerWritableStream<WatchRoutesRequest, WatchRoutesResponse>;

/** Routes in one response: some 50 KiB, so that no watcher holds up the others. */
const ROUTES_PER_RESPONSE = 256;

/** Names that gather for a watcher of all topics before it is given up. */
const UNSENT_MAX = 2_000_000;

/** Streams of routes. */
export class WatchRoutes {
  readonly #routes: RouteTable;
  readonly #warmingUp: () => boolean;
  readonly #watchers: RouteWatchers;
  readonly #calls = new Map<RouteWatcher, Call>();
  /** Watchers that have something to send and nothing in flight. */
  readonly #ready = new Set<RouteWatcher>();
  readonly #inFlight = new Set<RouteWatcher>();
  #scheduled = false;

  constructor(options: RouteWatchersOptions, routes: RouteTable, warmingUp: () => boolean) {
    this.#watchers = new RouteWatchers(options);
    this.#routes = routes;
    this.#warmingUp = warmingUp;
  }

  /** Number of watchers. */
  get size(): number {
    return this.#watchers.size;
  }

  /** Routes have changed. */
  changed(topics: ReadonlySet<string>): void {
    for (const watcher of this.#watchers.changed(topics)) this.#wake(watcher);
  }

  /** The name server knows all brokers now. */
  warmedUp(): void {
    for (const watcher of this.#watchers.warmedUp((topic) => this.#routes.has(topic))) {
      this.#wake(watcher);
    }
  }

  /** Ends all streams; clients turn to other name servers. */
  close(): void {
    const stopping = new TernError(
      'UNAVAILABLE',
      'SERVER_STOPPING',
      'This name server is stopping.',
    );
    for (const watcher of [...this.#calls.keys()]) this.#end(watcher, stopping);
  }

  /** The grpc-js handler. */
  readonly handler = (call: Call): void => {
    let watcher: RouteWatcher;
    try {
      const { topics } = call.request;
      checkTopicNames(topics, 'topics');
      watcher = this.#watchers.add(topics, this.#routes.topics());
    } catch (error) {
      failStream(call, error);
      return;
    }
    this.#calls.set(watcher, call);
    call.on('close', () => this.#remove(watcher));
    this.#wake(watcher);
  };

  #remove(watcher: RouteWatcher): void {
    this.#watchers.remove(watcher);
    this.#calls.delete(watcher);
    this.#ready.delete(watcher);
    this.#inFlight.delete(watcher);
  }

  #wake(watcher: RouteWatcher): void {
    if (watcher.unsent > UNSENT_MAX) this.#end(watcher, tooSlow());
    if (!this.#calls.has(watcher) || this.#inFlight.has(watcher)) return;
    this.#ready.add(watcher);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  /** One response to everybody who waits for one; who has more waits for the next turn. */
  #send(): void {
    const ready = [...this.#ready];
    this.#ready.clear();
    for (const watcher of ready) {
      const routes = watcher.take(ROUTES_PER_RESPONSE).map((topic) => this.#routes.route(topic));
      const response = create(WatchRoutesResponseSchema, {
        routes,
        warmingUp: this.#warmingUp(),
      });
      this.#inFlight.add(watcher);
      this.#calls.get(watcher)?.write(response, () => {
        if (this.#inFlight.delete(watcher) && watcher.pending) this.#wake(watcher);
      });
    }
  }

  #end(watcher: RouteWatcher, error: TernError): void {
    const call = this.#calls.get(watcher);
    this.#remove(watcher);
    if (call !== undefined) failStream(call, error);
  }
}

function tooSlow(): TernError {
  return new TernError(
    'RESOURCE_EXHAUSTED',
    'WATCHER_TOO_SLOW',
    'This watcher has not read for too long; watch again.',
  );
}
